//! Native clients: ZooKeeper, Kafka, MySQL. They look and report; they do not decide.
