//! What ZooKeeper and the brokers share: a main class of the pinned jars, started with one configuration file and one for log4j.

use super::{Place, ServiceError, Site, class_data, class_path, divide, jvm, text};
use crate::base::{
    ByteSize, NodeName,
    programs::{JavaRuntime, KafkaJars},
};
use std::path::PathBuf;

/// What tells one from another.
pub(super) struct About<'a> {
    pub node: &'a NodeName,
    /// Its data directory, when the configuration names one.
    pub data: Option<&'a PathBuf>,
    /// Who it runs as, when the configuration names one.
    pub user: Option<&'a str>,
    pub cap: ByteSize,
    pub heap: Option<ByteSize>,
    pub needs: &'a jvm::Needs,
    /// The first part of its class-data archive's name.
    pub archive: &'static str,
    /// The name of its configuration file.
    pub config: &'static str,
    pub main_class: &'static str,
}

/// Its parts, paths also as the text that its program gets.
pub(super) struct JarNode<'a> {
    java: &'a JavaRuntime,
    pub jars: &'a KafkaJars,
    pub place: Place,
    pub limits: jvm::Limits,
    pub archive: PathBuf,
    pub config_file: PathBuf,
    pub log4j_file: PathBuf,
    pub tmp: String,
    crash_dir: String,
    log4j: String,
    archive_text: String,
    class_path: String,
    main_class: &'static str,
    arguments: [String; 1],
}

impl<'a> JarNode<'a> {
    pub(super) fn of(site: &Site<'a>, about: &About<'_>) -> Result<Self, ServiceError> {
        let missing = |program| ServiceError::NoProgram { node: about.node.clone(), program };
        let java = site.programs.java.as_ref().ok_or_else(|| missing("a Java runtime"))?;
        let jars = site.programs.kafka.as_ref().ok_or_else(|| missing("the Kafka jars"))?;
        let place = Place::of(site.layout, about.node, about.data);
        let class_path = class_path(jars)?;
        let archive = class_data::file(&site.class_data, about.archive, java, jars, &class_path, about.main_class);
        let (config_file, log4j_file) = (place.conf.join(about.config), place.conf.join("log4j.properties"));
        Ok(Self {
            java,
            jars,
            limits: divide(about.node, about.cap, about.heap, about.needs)?,
            tmp: text(&place.tmp, "")?,
            crash_dir: site.crash_dir(&place, about.user)?,
            log4j: text(&log4j_file, "")?,
            archive_text: text(&archive, ":")?,
            arguments: [text(&config_file, "")?],
            main_class: about.main_class,
            place,
            archive,
            config_file,
            log4j_file,
            class_path,
        })
    }

    /// Its command line; `extra_flags` are the user's.
    pub(super) fn command<'b>(&'b self, extra_flags: &'b [String]) -> jvm::CommandLine<'b> {
        jvm::CommandLine {
            java: self.java,
            limits: &self.limits,
            tmp: &self.tmp,
            crash_dir: &self.crash_dir,
            log4j: &self.log4j,
            archive: &self.archive_text,
            class_path: &self.class_path,
            extra_flags,
            main_class: self.main_class,
            arguments: &self.arguments,
        }
    }
}
