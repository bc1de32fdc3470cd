//! The statements that make root's password, the database, its tables, three rows and the change reader's user.

use crate::config;

/// Statements for one session as root, in order, each a whole. Run again they change nothing but the passwords.
///
/// What names an account runs with `sql_log_bin` off, so that no password hash travels through the binlog to every change
/// reader; it is the only thing left out, so tables and rows are there for a reader that starts at the first binlog.
pub(super) fn statements(mysql: &config::Mysql) -> Vec<String> {
    let mut all = Vec::new();
    if mysql.provision {
        let database = identifier(&mysql.database);
        all.push(format!("CREATE DATABASE IF NOT EXISTS {database}"));
        all.push(orders(&database));
        all.push(order_executions(&database));
        all.push(test_rows(&database));
    }
    all.push("SET SESSION sql_log_bin = 0".into());
    if mysql.provision {
        all.push("CREATE USER IF NOT EXISTS 'debezium'@'%' IDENTIFIED BY @DEBEZIUM_PASSWORD@".into());
        all.push("ALTER USER 'debezium'@'%' IDENTIFIED BY @DEBEZIUM_PASSWORD@".into());
        // Exactly these and no other: snapshots need the first three, the binlog the other two (Debezium's MySQL guide).
        all.push(
            "GRANT SELECT, RELOAD, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'debezium'@'%'"
                .into(),
        );
    }
    // Last: with it the directory is complete, and without it nobody is let in over the network.
    all.push("ALTER USER 'root'@'localhost' IDENTIFIED BY @ROOT_PASSWORD@".into());
    all.push("SET SESSION sql_log_bin = 1".into());
    all
}

/// Milliseconds, so that the way from a commit to its event can be timed.
fn orders(database: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {database}.`orders` (
  `order_id` BIGINT NOT NULL AUTO_INCREMENT,
  `user_id` BIGINT NOT NULL,
  `symbol` VARCHAR(20) NOT NULL,
  `order_type` ENUM('BUY','SELL') NOT NULL,
  `quantity` INT NOT NULL,
  `price` DECIMAL(15,2) NOT NULL,
  `status` ENUM('PENDING','FILLED','CANCELLED','PARTIAL') NOT NULL DEFAULT 'PENDING',
  `created_at` DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  `updated_at` DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  PRIMARY KEY (`order_id`),
  KEY `user_id` (`user_id`),
  KEY `symbol` (`symbol`)
) ENGINE=InnoDB"
    )
}

fn order_executions(database: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {database}.`order_executions` (
  `execution_id` BIGINT NOT NULL AUTO_INCREMENT,
  `order_id` BIGINT NOT NULL,
  `quantity` INT NOT NULL,
  `price` DECIMAL(15,2) NOT NULL,
  `executed_at` DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  PRIMARY KEY (`execution_id`),
  KEY `order_id` (`order_id`),
  CONSTRAINT `order_executions_order` FOREIGN KEY (`order_id`) REFERENCES {database}.`orders` (`order_id`)
) ENGINE=InnoDB"
    )
}

/// Stock codes of the Korea Exchange. Only into an empty table.
fn test_rows(database: &str) -> String {
    format!(
        "INSERT INTO {database}.`orders` (`user_id`, `symbol`, `order_type`, `quantity`, `price`, `status`)
SELECT `seed`.* FROM (
  SELECT 1001 AS `user_id`, '005930' AS `symbol`, 'BUY' AS `order_type`, 10 AS `quantity`, 71500.00 AS `price`, \
'PENDING' AS `status`
  UNION ALL SELECT 1002, '000660', 'SELL', 5, 128000.00, 'FILLED'
  UNION ALL SELECT 1003, '035420', 'BUY', 3, 215500.00, 'PARTIAL'
) AS `seed`
WHERE NOT EXISTS (SELECT 1 FROM {database}.`orders`)"
    )
}

/// A quoted identifier.
fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}
