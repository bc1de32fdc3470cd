//! What a plan needs of the artifact store, and getting it.

use crate::{
    artifact::{self, Settings, Wanted},
    base::{Layout, programs::Programs},
    config::Plan,
};
pub use crate::{
    artifact::{ArtifactError, Part, Progress, Step},
    sys::command::Cancel,
};

/// Which parts a plan needs.
pub fn wanted(plan: &Plan) -> Wanted {
    let jvm = plan.zookeeper.is_some() || plan.kafka.is_some();
    // ZooKeeper's jars come with Kafka's.
    Wanted { java: jvm, kafka: jvm, mysql: plan.mysql.is_some() }
}

/// How the plan's artifacts are resolved.
pub fn settings(plan: &Plan, layout: &Layout) -> Settings {
    let mut settings = Settings::new(plan.artifacts.store(layout));
    settings.offline = plan.artifacts.offline;
    settings.java_home = plan.artifacts.java_home.clone();
    settings
}

/// Makes sure that the plan's programs are in the store: looks, and fetches what is missing. Blocks.
pub fn ensure(
    plan: &Plan,
    layout: &Layout,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Programs, ArtifactError> {
    artifact::ensure(wanted(plan), &settings(plan, layout), progress, cancel)
}

/// The verb `fetch`: as [`ensure`], and every stored file is read again. Blocks.
pub fn fetch(
    plan: &Plan,
    layout: &Layout,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Programs, ArtifactError> {
    super::fetch::fetch(wanted(plan), &settings(plan, layout), progress, cancel)
}
