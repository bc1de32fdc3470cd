CREATE DATABASE IF NOT EXISTS `trading`;
CREATE TABLE IF NOT EXISTS `trading`.`orders` (
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
) ENGINE=InnoDB;
CREATE TABLE IF NOT EXISTS `trading`.`order_executions` (
  `execution_id` BIGINT NOT NULL AUTO_INCREMENT,
  `order_id` BIGINT NOT NULL,
  `quantity` INT NOT NULL,
  `price` DECIMAL(15,2) NOT NULL,
  `executed_at` DATETIME(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  PRIMARY KEY (`execution_id`),
  KEY `order_id` (`order_id`),
  CONSTRAINT `order_executions_order` FOREIGN KEY (`order_id`) REFERENCES `trading`.`orders` (`order_id`)
) ENGINE=InnoDB;
INSERT INTO `trading`.`orders` (`user_id`, `symbol`, `order_type`, `quantity`, `price`, `status`)
SELECT `seed`.* FROM (
  SELECT 1001 AS `user_id`, '005930' AS `symbol`, 'BUY' AS `order_type`, 10 AS `quantity`, 71500.00 AS `price`, 'PENDING' AS `status`
  UNION ALL SELECT 1002, '000660', 'SELL', 5, 128000.00, 'FILLED'
  UNION ALL SELECT 1003, '035420', 'BUY', 3, 215500.00, 'PARTIAL'
) AS `seed`
WHERE NOT EXISTS (SELECT 1 FROM `trading`.`orders`);
SET SESSION sql_log_bin = 0;
CREATE USER IF NOT EXISTS 'debezium'@'%' IDENTIFIED BY @DEBEZIUM_PASSWORD@;
ALTER USER 'debezium'@'%' IDENTIFIED BY @DEBEZIUM_PASSWORD@;
GRANT SELECT, RELOAD, SHOW DATABASES, REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'debezium'@'%';
ALTER USER 'root'@'localhost' IDENTIFIED BY @ROOT_PASSWORD@;
SET SESSION sql_log_bin = 1