//! What `up` ends with: the table, how to connect, where the data is, what comes next.

use crate::{
    base::{ByteSize, Layout, Port, Timestamp},
    cli::{printer::Paint, table},
    config::Plan,
    control::wire::{Node, Status},
};

/// Column in which the second half of a line begins, as long as the first half leaves room.
const HALF: usize = 58;

/// The whole summary.
pub(super) fn text(status: &Status, plan: &Plan, now: Timestamp, host: Option<ByteSize>, paint: Paint) -> String {
    let mut parts = vec![table::nodes(status, now, host, paint)];
    let mut remarks = table::remarks(status, now);
    remarks.extend(status.cut_short.as_ref().map(table::cut_short));
    if !remarks.is_empty() {
        parts.push(String::new());
        parts.extend(remarks);
    }
    parts.push(String::new());
    let layout = plan.layout();
    let connect = side_by_side(kafka(status, plan), mysql(status, plan, &layout));
    parts.extend(connect);
    parts.extend(side_by_side(
        Some(format!("data   {}", layout.root().display())),
        Some(format!("next   cdc-supervisor status --watch{}", log_of(status))),
    ));
    parts.join("\n")
}

fn side_by_side(left: Option<String>, right: Option<String>) -> Option<String> {
    match (left, right) {
        (Some(left), Some(right)) => {
            Some(format!("{left:<HALF$}{}{right}", if left.len() < HALF { "" } else { "   " }))
        }
        (Some(one), None) | (None, Some(one)) => Some(one),
        (None, None) => None,
    }
}

fn port(node: &Node, name: &str) -> Option<u16> {
    node.ports.iter().find(|p| p.name == name).map(|p| p.port)
}

fn is_up(node: &Node) -> bool {
    node.wanted == "up"
}

fn kafka(status: &Status, plan: &Plan) -> Option<String> {
    let host = plan.kafka.as_ref()?.advertised_host.as_str();
    let brokers = status.nodes.iter().filter(|n| n.kind == "broker" && is_up(n));
    let list: Vec<String> = brokers.filter_map(|n| port(n, "EXTERNAL")).map(|port| format!("{host}:{port}")).collect();
    (!list.is_empty()).then(|| format!("kafka  {}", list.join(",")))
}

fn mysql(status: &Status, plan: &Plan, layout: &Layout) -> Option<String> {
    let settings = plan.mysql.as_ref()?;
    let port = port(status.nodes.iter().find(|n| n.kind == "mysql" && is_up(n))?, "mysql")?;
    let at = Port(port).reached(settings.bind);
    let database = &settings.database;
    Some(if settings.provision {
        let secret = layout.secret("debezium");
        format!("mysql  mysql://debezium@{at}/{database} (password: {})", secret.display())
    } else {
        format!("mysql  mysql://{at}")
    })
}

/// A node whose log is worth a first look: a broker, else the first there is.
fn log_of(status: &Status) -> String {
    let node = status.nodes.iter().find(|n| n.kind == "broker").or_else(|| status.nodes.first());
    node.map(|n| format!(" | logs -f {}", n.name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples::{NOW, stack};

    fn plan(text: &str) -> Plan {
        let source = crate::config::Source {
            text,
            name: "supervisor.toml",
            root_override: None,
            default_root: "/var/lib/cdc-supervisor".into(),
        };
        crate::config::load(&source).unwrap()
    }

    #[test]
    fn the_summary_of_the_default_stack_tells_how_to_connect_and_what_comes_next() {
        let text = text(&stack(), &plan(""), NOW, Some(ByteSize(16_541_000_000)), Paint { on: false });
        let tail: Vec<&str> = text.lines().skip(7).collect();
        assert_eq!(
            tail,
            [
                "",
                "kafka  localhost:9092,localhost:9093,localhost:9094       mysql  mysql://debezium@127.0.0.1:3306/trading (password: /var/lib/cdc-supervisor/state/secrets/debezium)",
                "data   /var/lib/cdc-supervisor                            next   cdc-supervisor status --watch | logs -f broker-1",
            ]
        );
    }

    #[test]
    fn mysql_is_named_where_it_listens() {
        let shown = |bind: &str| {
            let plan = plan(&format!("[mysql]\nbind = \"{bind}\"\nprovision = false\n"));
            text(&stack(), &plan, NOW, None, Paint { on: false })
        };
        assert!(shown("192.168.1.10").contains("mysql  mysql://192.168.1.10:3306"));
        assert!(shown("0.0.0.0").contains("mysql  mysql://127.0.0.1:3306"));
    }

    #[test]
    fn what_is_not_there_is_not_named_and_caps_that_are_not_enforced_are() {
        let mut status = stack();
        status.nodes.retain(|n| n.kind == "zookeeper");
        status.supervisor.caps.enforced = false;
        status.supervisor.caps.why = Some("no cgroup v2".into());
        let text = text(&status, &plan("[zookeeper]\n"), NOW, None, Paint { on: false });
        assert!(!text.contains("kafka  ") && !text.contains("mysql"), "{text}");
        assert!(
            text.contains("\ncaps are not enforced: no cgroup v2\n") && text.contains("logs -f zookeeper"),
            "{text}"
        );
    }
}
