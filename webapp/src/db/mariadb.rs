//! MariaDB, from 10.6 on: its GTIDs, its words.
//!
//! A GTID is `domain-server-sequence`. Within a domain the sequence only grows, on whichever server
//! a transaction is written, so the last GTID of each domain tells all that went before.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::dialect::{Channel, Dialect, Receiving, Report, stopped_by};
use super::position::Position;
use super::record::Record;

/// MariaDB's words.
pub(super) struct MariaDb;

/// The last transaction of each domain: its server and its sequence number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Gtids(BTreeMap<u32, (u32, u64)>);

impl Gtids {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut gtids = Self::default();
        if text.is_empty() {
            return Some(gtids);
        }
        for gtid in text.split(',') {
            let mut parts = gtid.split('-');
            let domain = number(parts.next()?)?;
            let server = number(parts.next()?)?;
            let sequence = number(parts.next()?)?;
            if parts.next().is_some() {
                return None;
            }
            gtids.add(domain, (server, sequence));
        }
        Some(gtids)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn missing(&self, other: &Self) -> Self {
        let reached = |domain, sequence| {
            let mine = self.0.get(domain);
            mine.is_some_and(|(_, mine)| mine >= sequence)
        };
        let missing = other
            .0
            .iter()
            .filter(|(domain, (_, sequence))| !reached(*domain, sequence));
        Self(missing.map(|(domain, gtid)| (*domain, *gtid)).collect())
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for (domain, gtid) in &other.0 {
            both.add(*domain, *gtid);
        }
        both
    }

    fn add(&mut self, domain: u32, gtid: (u32, u64)) {
        let last = self.0.entry(domain).or_insert(gtid);
        if last.1 < gtid.1 {
            *last = gtid;
        }
    }
}

/// Digits and nothing else: `parse` alone would take a plus sign.
fn number<N: std::str::FromStr>(text: &str) -> Option<N> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

impl fmt::Display for Gtids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (domain, (server, sequence))) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{domain}-{server}-{sequence}")?;
        }
        Ok(())
    }
}

impl Dialect for MariaDb {
    fn name(&self) -> &'static str {
        "MariaDB"
    }

    fn speaks(&self, position: &Position) -> bool {
        matches!(position, Position::MariaDb(_))
    }

    fn session(&self, statement: Option<Duration>) -> String {
        let Some(limit) = statement else {
            return "SET SESSION max_statement_time = 0".to_owned();
        };
        let seconds = limit.as_secs().max(1);
        format!(
            "SET SESSION max_statement_time = {:.3}, innodb_lock_wait_timeout = {seconds}, \
             lock_wait_timeout = {seconds}",
            limit.as_secs_f64()
        )
    }

    fn look(&self) -> &'static str {
        "SELECT @@version AS version, \
         @@global.read_only AS read_only, @@global.log_bin AS log_bin, \
         @@global.log_slave_updates AS log_slave_updates, \
         @@global.gtid_binlog_pos AS gtid_binlog_pos, \
         @@global.gtid_slave_pos AS gtid_slave_pos, \
         @@global.rpl_semi_sync_master_enabled AS semi_sync_primary, \
         @@global.rpl_semi_sync_slave_enabled AS semi_sync_replica, \
         (SELECT variable_value FROM information_schema.global_status \
         WHERE variable_name = 'rpl_semi_sync_master_status') AS semi_sync_waits, \
         (SELECT variable_value FROM information_schema.global_status \
         WHERE variable_name = 'rpl_semi_sync_master_clients') AS semi_sync_replicas; \
         SHOW ALL SLAVES STATUS"
    }

    fn report(&'static self, results: &[Vec<Record>]) -> Result<Report, String> {
        let [server, statuses] = results else {
            return Err(format!("it gave {} answers instead of 2", results.len()));
        };
        let server = server.first().ok_or("it said nothing of itself")?;
        let channels: Vec<Channel> = statuses.iter().map(channel).collect::<Result<_, _>>()?;
        let logged = gtids(server.get(&["gtid_binlog_pos"]))?;
        let applied = gtids(server.get(&["gtid_slave_pos"]))?;
        let received = channels.iter().map(|channel| &channel.received);
        let has = received.fold(logged.and(&applied), |all, it| all.and(it));
        // What is read on a replica is what was applied; a transaction of its own, which it should
        // not have, must not make it look further than it is.
        let position = if channels.is_empty() {
            logged.and(&applied)
        } else {
            applied
        };
        Ok(Report {
            dialect: self,
            version: server.must(&["version"])?.to_owned(),
            writable: !server.is_on(&["read_only"]),
            position,
            has,
            feeds: server.is_on(&["log_bin"]) && server.is_on(&["log_slave_updates"]),
            semi_sync_primary: server.is_on(&["semi_sync_primary"]),
            waits_in_vain: server.is_on(&["semi_sync_waits"])
                && server.get(&["semi_sync_replicas"]) == Some("0"),
            semi_sync_replica: server.is_on(&["semi_sync_replica"]),
            enable_semi_sync: Some("SET GLOBAL rpl_semi_sync_master_enabled = ON"),
            channels,
        })
    }

    fn wait(&self) -> &'static str {
        "SELECT MASTER_GTID_WAIT(?, ?)"
    }

    fn commit(&self) -> &'static str {
        "COMMIT; SELECT @@last_gtid"
    }

    fn stop_receiving(&self) -> &'static str {
        "STOP SLAVE IO_THREAD"
    }

    fn start_receiving(&self) -> &'static str {
        "START SLAVE IO_THREAD"
    }

    fn forget_primary(&self) -> &'static [&'static str] {
        &["STOP SLAVE", "RESET SLAVE ALL"]
    }

    fn open(&self) -> &'static [&'static str] {
        &["SET GLOBAL read_only = OFF"]
    }

    fn follow(&self, host: &str, port: u16) -> Vec<String> {
        let host = host.replace(['\\', '\''], "");
        vec![
            "STOP SLAVE".to_owned(),
            format!(
                "CHANGE MASTER TO MASTER_HOST = '{host}', MASTER_PORT = {port}, \
                 MASTER_USE_GTID = slave_pos"
            ),
            "START SLAVE".to_owned(),
        ]
    }
}

fn gtids(text: Option<&str>) -> Result<Position, String> {
    let text = text.unwrap_or_default();
    match Gtids::parse(text) {
        Some(gtids) => Ok(Position::MariaDb(gtids)),
        None => Err(format!("its position is {text:?}")),
    }
}

fn channel(status: &Record) -> Result<Channel, String> {
    let receiving = Receiving::parse(status.must(&["Slave_IO_Running"])?);
    let applying = status.is_on(&["Slave_SQL_Running"]);
    let behind = status.get(&["Seconds_Behind_Master"]);
    Ok(Channel {
        source: format!(
            "{}:{}",
            status.get(&["Master_Host"]).unwrap_or_default(),
            status.get(&["Master_Port"]).unwrap_or_default()
        ),
        receiving,
        applying,
        behind: behind
            .and_then(|text| text.parse().ok())
            .map(Duration::from_secs),
        error: stopped_by(
            status,
            (receiving, &["Last_IO_Error"]),
            (applying, &["Last_SQL_Error"]),
        ),
        received: gtids(status.get(&["Gtid_IO_Pos"]))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gtids(text: &str) -> Gtids {
        Gtids::parse(text).unwrap()
    }

    #[test]
    fn a_position_includes_what_went_before_in_each_domain() {
        for (mine, theirs, missing) in [
            ("0-1-5", "0-1-5", ""),
            ("0-1-5", "0-2-4", ""),
            ("0-2-5", "0-1-6", "0-1-6"),
            ("0-1-5", "1-1-1", "1-1-1"),
            ("0-1-5,1-3-9", "0-1-5,1-3-10", "1-3-10"),
            ("", "0-1-1", "0-1-1"),
            ("0-1-1", "", ""),
        ] {
            let (mine, theirs) = (gtids(mine), gtids(theirs));
            assert_eq!(mine.missing(&theirs), gtids(missing), "{mine} {theirs}");
        }
    }

    #[test]
    fn of_a_domain_that_is_told_twice_the_later_counts() {
        assert_eq!(gtids("0-1-9,0-2-5").to_string(), "0-1-9");
        assert_eq!(
            gtids("0-1-9,2-1-1").and(&gtids("0-2-10")).to_string(),
            "0-2-10,2-1-1"
        );
    }

    #[test]
    fn what_is_no_gtid_is_refused() {
        for text in [
            "0-1",
            "0-1-2-3",
            "0-1-",
            "+0-1-2",
            "a-b-c",
            "0-1-2,",
            "4294967296-1-1",
        ] {
            assert_eq!(Gtids::parse(text), None, "{text}");
        }
    }

    const REPLICA: &str = include_str!("fixtures/mariadb-10.11-replica.txt");

    fn report(text: &str) -> Result<Report, String> {
        MariaDb.report(&Record::parse_all(text))
    }

    #[test]
    fn a_replica_is_understood() {
        let report = report(REPLICA).unwrap();
        assert_eq!((report.writable, report.feeds), (false, true));
        assert_eq!(report.position.to_string(), "0-1-15");
        assert_eq!(report.has.to_string(), "0-1-17");
        assert!(report.semi_sync_replica && !report.semi_sync_primary);
        let [channel] = &report.channels[..] else {
            panic!("{report:?}")
        };
        assert_eq!(channel.source, "127.0.0.1:3306");
        assert_eq!(channel.receiving, Receiving::Running);
        assert_eq!(channel.behind, Some(Duration::ZERO));
        assert!(channel.applying && channel.error.is_none());
    }

    #[test]
    fn what_is_wrong_with_a_replica_is_understood() {
        let stopped = REPLICA
            .replace("Slave_IO_Running: Yes", "Slave_IO_Running: No")
            .replace("Seconds_Behind_Master: 0", "Seconds_Behind_Master: NULL")
            .replace("Last_IO_Error: ", "Last_IO_Error: Got fatal error 1236");
        let channel = &report(&stopped).unwrap().channels[0];
        assert_eq!(channel.receiving, Receiving::Stopped);
        assert_eq!(channel.behind, None);
        assert_eq!(channel.error.as_deref(), Some("Got fatal error 1236"));

        let away = REPLICA.replace("Slave_IO_Running: Yes", "Slave_IO_Running: Connecting");
        assert_eq!(
            report(&away).unwrap().channels[0].receiving,
            Receiving::Connecting
        );

        let broken = REPLICA
            .replace("Slave_SQL_Running: Yes", "Slave_SQL_Running: No")
            .replace("Last_SQL_Error: ", "Last_SQL_Error: Duplicate entry");
        let channel = &report(&broken).unwrap().channels[0];
        assert!(!channel.applying);
        assert_eq!(channel.error.as_deref(), Some("Duplicate entry"));
    }

    #[test]
    fn a_primary_has_what_it_logged() {
        let (server, _) = REPLICA.split_once("--\n").unwrap();
        let primary = server
            .replace("read_only: 1", "read_only: 0")
            .replace("gtid_binlog_pos: 0-1-15", "gtid_binlog_pos: 0-2-20")
            + "--\n";
        let report = report(&primary).unwrap();
        assert!(report.writable && report.channels.is_empty());
        assert_eq!(report.position.to_string(), "0-2-20");
        assert!(!report.waits_in_vain);
    }

    #[test]
    fn a_primary_without_a_replica_to_wait_for_is_recognised() {
        for (waits, replicas, in_vain) in [
            ("ON", "0", true),
            ("ON", "1", false),
            // It has given up waiting, or never did.
            ("OFF", "0", false),
        ] {
            let primary = REPLICA
                .replace("semi_sync_waits: OFF", &format!("semi_sync_waits: {waits}"))
                .replace(
                    "semi_sync_replicas: 0",
                    &format!("semi_sync_replicas: {replicas}"),
                );
            let report = report(&primary).unwrap();
            assert_eq!(report.waits_in_vain, in_vain, "{waits} {replicas}");
        }
    }

    #[test]
    fn an_answer_that_lacks_something_is_no_report() {
        let error = report(&REPLICA.replace("version", "x")).unwrap_err();
        assert!(error.contains("version"), "{error}");
        assert!(report(REPLICA.split_once("--\n").unwrap().0).is_err());
        assert!(report(&REPLICA.replace("Slave_IO_Running", "x")).is_err());
    }

    #[test]
    fn a_host_cannot_end_its_quotes() {
        let follow = MariaDb.follow("x', MASTER_USER = 'y", 3306);
        assert!(follow[1].contains("'x, MASTER_USER = y'"), "{}", follow[1]);
    }
}
