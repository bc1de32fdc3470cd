//! `topics`: what there is against the configuration, `apply`, `remove`.

use crate::{
    cli::{
        args,
        context::{Context, unexpected},
        error::{CliError, refusal},
        exit::Exit,
        printer::Paint,
    },
    control::wire::{
        Answer, Order,
        topics::{Topic, Topics},
    },
};

pub(super) async fn run(context: &Context, asked: args::Topics) -> Result<Exit, CliError> {
    match asked.what {
        None => list(context, asked.json).await,
        Some(args::TopicsDo::Apply) => super::orders::run(context, "topics", Order::TopicsApply).await,
        Some(args::TopicsDo::Remove { name, confirm }) => {
            if confirm.as_deref() != Some(name.as_str()) {
                let what = format!("`topics remove` deletes the topic {name} with all its records; nothing was done");
                return Err(CliError::new(Exit::Refused, what).hint(format!("say so with --confirm {name}")));
            }
            super::orders::run(context, "topics", Order::TopicRemove { name }).await
        }
    }
}

/// Exit 9 when something differs: a question with an answer, as `verify` has one.
async fn list(context: &Context, json: bool) -> Result<Exit, CliError> {
    let layout = context.layout()?;
    let topics = match context.ask(&layout, Order::Topics).await?.next().await? {
        Some(Answer::Topics(topics)) => topics,
        Some(answer) => return Err(refusal(&answer).unwrap_or_else(unexpected)),
        None => return Err(unexpected()),
    };
    let text = if json {
        serde_json::to_string(&topics)
            .map_err(|e| CliError::new(Exit::Unexpected, "cannot write the topics as JSON").causes([e.to_string()]))?
    } else {
        table(&topics, context.printer.paint())
    };
    context.printer.data(&text)?;
    Ok(if topics.ok { Exit::Done } else { Exit::Negative })
}

fn table(topics: &Topics, paint: Paint) -> String {
    if topics.topics.is_empty() {
        return "there is no topic besides Kafka's own and the supervisor's; [[kafka.topic]] in the file makes some"
            .into();
    }
    let width = topics.topics.iter().map(|t| t.name.chars().count()).max().unwrap_or(0).max(5);
    let head = format!("{:<width$}  {:<13}  {:>10}  {:>6}  SETTINGS", "TOPIC", "STATE", "PARTITIONS", "COPIES");
    let mut lines = vec![paint.heading(&head)];
    for topic in &topics.topics {
        lines.push(row(topic, width));
        let below = topic.waits.iter().chain(&topic.differences).chain(&topic.notes);
        lines.extend(below.map(|text| format!("{:width$}  {text}", "")));
    }
    if topics.topics.iter().any(|t| t.mendable) {
        lines.push(String::new());
        lines.push("`cdc-supervisor topics apply` mends what can be mended".into());
    }
    lines.join("\n")
}

fn row(topic: &Topic, width: usize) -> String {
    let number = |n: Option<u32>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let settings: Vec<String> = topic.settings.iter().flatten().map(|(k, v)| format!("{k}={v}")).collect();
    let line = format!(
        "{:<width$}  {:<13}  {:>10}  {:>6}  {}",
        topic.name,
        topic.state.replace('-', " "),
        number(topic.partitions),
        number(topic.replication_factor),
        settings.join(" ")
    );
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Timestamp;

    #[test]
    fn the_table_has_what_differs_below_the_topic_it_is_about() {
        let topic = |name: &str, state: &str, partitions, settings: &[(&str, &str)]| Topic {
            name: name.into(),
            state: state.into(),
            partitions,
            replication_factor: partitions.map(|_| 3),
            settings: Some(settings.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()),
            differences: Vec::new(),
            mendable: false,
            waits: None,
            notes: Vec::new(),
        };
        let mut differs = topic("orders", "differs", Some(3), &[]);
        differs.differences = vec!["it has 3 partitions, the file says 6".into()];
        differs.mendable = true;
        let topics = Topics {
            schema: 1,
            at: Timestamp(0),
            ok: false,
            topics: vec![
                topic("audit", "as-configured", Some(12), &[("retention.ms", "5")]),
                differs,
                topic("new", "missing", None, &[]),
            ],
        };
        let expected = "\
TOPIC   STATE          PARTITIONS  COPIES  SETTINGS
audit   as configured          12       3  retention.ms=5
orders  differs                 3       3
        it has 3 partitions, the file says 6
new     missing                 -       -

`cdc-supervisor topics apply` mends what can be mended";
        assert_eq!(table(&topics, Paint { on: false }), expected);
        let none = Topics { topics: vec![], ..topics };
        assert!(table(&none, Paint { on: false }).starts_with("there is no topic"));
    }
}
