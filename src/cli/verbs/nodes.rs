//! Which nodes a verb that reads files is about: a name that nobody ever had is a mistake.

use crate::{
    base::{Layout, NodeName},
    cli::{
        context::Context,
        error::{CliError, of_reading},
        exit::Exit,
    },
    offline::logs,
};

/// The nodes asked for, all of them when none is named.
pub(super) fn choose(context: &Context, layout: &Layout, asked: &[NodeName]) -> Result<Vec<NodeName>, CliError> {
    // Files of a root can be read whatever is wrong with the configuration.
    let loaded = context.load().ok().filter(|loaded| loaded.plan.root == layout.root());
    logs::may_look(layout).map_err(|e| of_reading(&e))?;
    let known = logs::nodes(layout, loaded.as_ref().map(|l| &l.plan));
    if let Some(unknown) = asked.iter().find(|n| !known.contains(n)) {
        let names: Vec<&str> = known.iter().map(NodeName::as_str).collect();
        let hint = if names.is_empty() {
            format!("no node has ever run under {}", layout.root().display())
        } else {
            format!("there are {}", names.join(", "))
        };
        return Err(CliError::new(Exit::Usage, format!("there is no node {unknown}")).hint(hint));
    }
    Ok(if asked.is_empty() { known } else { asked.to_vec() })
}
