//! Is mysqld ready: it says so itself over its notify socket, then it must answer `SELECT 1` as root.

use super::{Budget, Context, simple};
use crate::base::Verdict;
use crate::clients::{
    ClientError,
    mysql::{Mysql, Place, read_password},
};
use std::path::Path;

pub(super) async fn look(socket: &Path, root_password: &Path, context: &Context, budget: &Budget) -> Verdict {
    // Without a word of its own (adopted, or no socket given) the question alone decides.
    if let Some((false, status)) = &context.notified {
        return simple::starting_status(status);
    }
    match ask(socket, root_password, budget).await {
        Ok(()) => Verdict::Ready("SELECT 1 as root".into()),
        Err(e) if e.is_refused() => {
            context.not_yet(format!("its socket {} refuses connections: still starting", socket.display()))
        }
        Err(e) => context.not_yet(e.in_one_line()),
    }
}

async fn ask(socket: &Path, root_password: &Path, budget: &Budget) -> Result<(), ClientError> {
    let password = read_password(root_password).await?;
    let place = Place::Socket(socket.to_owned());
    let mut mysql = Mysql::connect(&place, "root", Some(&password), budget.left()).await?;
    let answer = mysql.ping().await;
    mysql.close().await;
    answer
}
