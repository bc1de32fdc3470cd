//! The rows of `verify` about drills, from the reports of this root.

use crate::{
    base::{Layout, drill::KEPT},
    offline::drills,
    operate::verify::{self, Check},
    sys::clock,
};

/// `brokers`: whether there are any.
pub(super) async fn rows(layout: &Layout, brokers: bool) -> Vec<Check> {
    let layout = layout.clone();
    let found = tokio::task::spawn_blocking(move || drills::find(&layout, KEPT)).await;
    let (reports, unreadable) = match found {
        Ok(Ok(found)) => (found.reports, found.unreadable.len()),
        Ok(Err(_)) | Err(_) => (Vec::new(), 1),
    };
    verify::drilled(&reports, unreadable, brokers, clock::wall())
}
