//! Whole files in; plans, or errors as they are drawn, out.

mod default_file;
mod errors;
mod meaning;
mod rules;
mod topics;

use super::*;

pub(super) const ROOT: &str = "/var/lib/cdc-supervisor";

pub(super) fn source(text: &str) -> Source<'_> {
    Source { text, name: "supervisor.toml", root_override: None, default_root: PathBuf::from(ROOT) }
}

pub(super) fn accepted(text: &str) -> Plan {
    load(&source(text)).unwrap_or_else(|errors| panic!("refused:\n{errors}"))
}

pub(super) fn refused(text: &str) -> String {
    match load(&source(text)) {
        Ok(plan) => panic!("accepted: {plan:#?}"),
        Err(errors) => errors.to_string(),
    }
}

/// The messages alone, `key: message`.
pub(super) fn messages(text: &str) -> Vec<String> {
    match load(&source(text)) {
        Ok(plan) => panic!("accepted: {plan:#?}"),
        Err(errors) => errors.errors.into_iter().map(|e| format!("{}: {}", e.key, e.message)).collect(),
    }
}

/// The one error of a text: (message, label or "", hint or "").
pub(super) fn only(text: &str) -> (String, String, String) {
    let errors = load(&source(text)).expect_err("accepted");
    assert_eq!(errors.errors.len(), 1, "{errors}");
    let e = errors.errors.into_iter().next().unwrap();
    (format!("{}: {}", e.key, e.message), e.label.unwrap_or_default(), e.hint.unwrap_or_default())
}
