//! MySQL, from 8.0 on: its GTID sets, its words.
//!
//! A GTID is `server:number`, and a server's history is a set of them: `server:1-5:7` lacks one.
//! From 8.3 on there may be a tag between the two.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::dialect::{Channel, Dialect, Receiving, Report, stopped_by};
use super::position::Position;
use super::record::{Record, is_on};

/// MySQL's words, of which 8.0.22, 8.0.23 and 8.0.26 replaced some.
pub(super) struct MySql {
    look: &'static str,
    stop_receiving: &'static str,
    start_receiving: &'static str,
    forget_primary: &'static [&'static str],
    stop: &'static str,
    follow: [&'static str; 4],
    start: &'static str,
}

macro_rules! look {
    ($status:literal) => {
        concat!(
            "SELECT @@version AS version, ",
            "@@global.read_only AS read_only, @@global.log_bin AS log_bin, ",
            "@@global.log_slave_updates AS log_slave_updates, ",
            "@@global.gtid_executed AS gtid_executed; ",
            "SELECT variable_name, variable_value FROM performance_schema.global_variables ",
            "WHERE variable_name LIKE 'rpl_semi_sync_%_enabled' ",
            "UNION ALL SELECT variable_name, variable_value ",
            "FROM performance_schema.global_status ",
            "WHERE variable_name LIKE 'rpl_semi_sync_%_status' ",
            "OR variable_name LIKE 'rpl_semi_sync_%_clients'; ",
            $status
        )
    };
}

/// Before 8.0.26.
pub(super) static OLD: MySql = MySql {
    look: look!("SHOW SLAVE STATUS"),
    stop_receiving: "STOP SLAVE IO_THREAD",
    start_receiving: "START SLAVE IO_THREAD",
    forget_primary: &["STOP SLAVE", "RESET SLAVE ALL"],
    stop: "STOP SLAVE",
    follow: [
        "CHANGE MASTER TO MASTER_HOST",
        "MASTER_PORT",
        "MASTER_AUTO_POSITION",
        "",
    ],
    start: "START SLAVE",
};

/// From 8.0.26 on; 8.4 knows no others.
pub(super) static NEW: MySql = MySql {
    look: look!("SHOW REPLICA STATUS"),
    stop_receiving: "STOP REPLICA IO_THREAD",
    start_receiving: "START REPLICA IO_THREAD",
    forget_primary: &["STOP REPLICA", "RESET REPLICA ALL"],
    stop: "STOP REPLICA",
    follow: [
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST",
        "SOURCE_PORT",
        "SOURCE_AUTO_POSITION",
        ", GET_SOURCE_PUBLIC_KEY = 1",
    ],
    start: "START REPLICA",
};

/// Transactions: for each server, or server and tag, the numbers from and to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct GtidSet(BTreeMap<String, Ranges>);

/// Sorted, with gaps between them.
type Ranges = Vec<(u64, u64)>;

impl GtidSet {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut set = Self::default();
        let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        if text.is_empty() {
            return Some(set);
        }
        for part in text.split(',') {
            let mut words = part.split(':');
            let server = words.next().filter(|it| is_uuid(it))?.to_ascii_lowercase();
            let mut source = server.clone();
            let mut told = false;
            for word in words {
                if word.starts_with(|c: char| c.is_ascii_digit()) {
                    let (from, to) = word.split_once('-').unwrap_or((word, word));
                    let (from, to) = (number(from)?, number(to)?);
                    if from == 0 || to < from {
                        return None;
                    }
                    set.0.entry(source.clone()).or_default().push((from, to));
                    told = true;
                } else if is_tag(word) {
                    source = format!("{server}:{}", word.to_ascii_lowercase());
                    told = false;
                } else {
                    return None;
                }
            }
            if !told {
                return None;
            }
        }
        for ranges in set.0.values_mut() {
            tidy(ranges);
        }
        Some(set)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn missing(&self, other: &Self) -> Self {
        let mut missing = BTreeMap::new();
        for (source, theirs) in &other.0 {
            let mine = self.0.get(source).map_or(&[][..], Vec::as_slice);
            let left = without(theirs, mine);
            if !left.is_empty() {
                missing.insert(source.clone(), left);
            }
        }
        Self(missing)
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for (source, theirs) in &other.0 {
            let ranges = both.0.entry(source.clone()).or_default();
            ranges.extend(theirs);
            tidy(ranges);
        }
        both
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(n, byte)| match n {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_tag(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    begins && text.len() <= 32 && text.bytes().all(plain)
}

/// Digits and nothing else: `parse` alone would take a plus sign.
fn number(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Sorts ranges and joins those that touch.
fn tidy(ranges: &mut Ranges) {
    ranges.sort_unstable();
    let mut tidied: Ranges = Vec::with_capacity(ranges.len());
    for &(from, to) in &*ranges {
        match tidied.last_mut() {
            Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
            _ => tidied.push((from, to)),
        }
    }
    *ranges = tidied;
}

/// What is in some ranges and not in others.
fn without(ranges: &[(u64, u64)], others: &[(u64, u64)]) -> Ranges {
    let mut left = Ranges::new();
    for &(mut from, to) in ranges {
        let mut whole = true;
        for &(start, end) in others {
            if end < from {
                continue;
            }
            if start > to {
                break;
            }
            if start > from {
                left.push((from, start - 1));
            }
            if end >= to {
                whole = false;
                break;
            }
            from = end + 1;
        }
        if whole {
            left.push((from, to));
        }
    }
    left
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (source, ranges)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { "," };
            write!(f, "{comma}{source}")?;
            for (from, to) in ranges {
                if from == to {
                    write!(f, ":{from}")?;
                } else {
                    write!(f, ":{from}-{to}")?;
                }
            }
        }
        Ok(())
    }
}

impl Dialect for MySql {
    fn name(&self) -> &'static str {
        "MySQL"
    }

    fn speaks(&self, position: &Position) -> bool {
        matches!(position, Position::MySql(_))
    }

    /// There is no bound for statements that write but that for waiting on locks.
    fn session(&self, statement: Option<Duration>) -> String {
        let Some(limit) = statement else {
            return "SET SESSION max_execution_time = 0".to_owned();
        };
        let seconds = limit.as_secs().max(1);
        format!(
            "SET SESSION max_execution_time = {}, innodb_lock_wait_timeout = {seconds}, \
             lock_wait_timeout = {seconds}",
            limit.as_millis().max(1)
        )
    }

    fn look(&self) -> &'static str {
        self.look
    }

    fn report(&'static self, results: &[Vec<Record>]) -> Result<Report, String> {
        let [server, semi_sync, statuses] = results else {
            return Err(format!("it gave {} answers instead of 3", results.len()));
        };
        let server = server.first().ok_or("it said nothing of itself")?;
        let channels: Vec<Channel> = statuses.iter().map(channel).collect::<Result<_, _>>()?;
        let executed = gtids(server.get(&["gtid_executed"]))?;
        let received = channels.iter().map(|channel| &channel.received);
        let has = received.fold(executed.clone(), |all, it| all.and(it));
        // Either the old plugin is there, or the new one, or neither.
        let value = |name: &str| {
            let named = |row: &&Record| {
                let it = row.get(&["variable_name"]);
                it.is_some_and(|it| it.eq_ignore_ascii_case(name))
            };
            semi_sync.iter().find(named)?.get(&["variable_value"])
        };
        let switch = |name: &str| value(name).map(is_on);
        let in_vain = |kind: &str| {
            switch(&format!("rpl_semi_sync_{kind}_status")) == Some(true)
                && value(&format!("rpl_semi_sync_{kind}_clients")) == Some("0")
        };
        let [source, master] = [
            "rpl_semi_sync_source_enabled",
            "rpl_semi_sync_master_enabled",
        ];
        let [replica, slave] = [
            "rpl_semi_sync_replica_enabled",
            "rpl_semi_sync_slave_enabled",
        ];
        Ok(Report {
            dialect: self,
            version: server.must(&["version"])?.to_owned(),
            writable: !server.is_on(&["read_only"]),
            position: executed,
            has,
            feeds: server.is_on(&["log_bin"]) && server.is_on(&["log_slave_updates"]),
            semi_sync_primary: switch(source).or(switch(master)).unwrap_or(false),
            waits_in_vain: in_vain("source") || in_vain("master"),
            semi_sync_replica: switch(replica).or(switch(slave)).unwrap_or(false),
            enable_semi_sync: match (switch(source), switch(master)) {
                (Some(_), _) => Some("SET GLOBAL rpl_semi_sync_source_enabled = ON"),
                (_, Some(_)) => Some("SET GLOBAL rpl_semi_sync_master_enabled = ON"),
                _ => None,
            },
            channels,
        })
    }

    fn wait(&self) -> &'static str {
        "SELECT WAIT_FOR_EXECUTED_GTID_SET(?, ?)"
    }

    /// The set is that of the server, which may be more than this transaction: it has no variable
    /// for the session's last one.
    fn commit(&self) -> &'static str {
        "COMMIT; SELECT @@global.gtid_executed"
    }

    fn stop_receiving(&self) -> &'static str {
        self.stop_receiving
    }

    fn start_receiving(&self) -> &'static str {
        self.start_receiving
    }

    fn forget_primary(&self) -> &'static [&'static str] {
        self.forget_primary
    }

    fn open(&self) -> &'static [&'static str] {
        &[
            "SET GLOBAL super_read_only = OFF",
            "SET GLOBAL read_only = OFF",
        ]
    }

    fn follow(&self, host: &str, port: u16) -> Vec<String> {
        let host = host.replace(['\\', '\''], "");
        let [change, change_port, auto_position, more] = self.follow;
        vec![
            self.stop.to_owned(),
            format!("{change} = '{host}', {change_port} = {port}, {auto_position} = 1{more}"),
            self.start.to_owned(),
        ]
    }
}

fn gtids(text: Option<&str>) -> Result<Position, String> {
    let text = text.unwrap_or_default();
    match GtidSet::parse(text) {
        Some(set) => Ok(Position::MySql(set)),
        None => Err(format!("its position is {text:?}")),
    }
}

fn channel(status: &Record) -> Result<Channel, String> {
    let receiving = ["Replica_IO_Running", "Slave_IO_Running"];
    let receiving = Receiving::parse(status.must(&receiving)?);
    let applying = status.is_on(&["Replica_SQL_Running", "Slave_SQL_Running"]);
    let behind = status.get(&["Seconds_Behind_Source", "Seconds_Behind_Master"]);
    Ok(Channel {
        source: format!(
            "{}:{}",
            status
                .get(&["Source_Host", "Master_Host"])
                .unwrap_or_default(),
            status
                .get(&["Source_Port", "Master_Port"])
                .unwrap_or_default()
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
        received: gtids(status.get(&["Retrieved_Gtid_Set"]))?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4f22fb58-71ca-11e1-9e33-c80aa9429562";

    /// With `A` and `B` for the servers.
    fn set(text: &str) -> GtidSet {
        GtidSet::parse(&text.replace('A', A).replace('B', B)).unwrap()
    }

    #[test]
    fn a_set_lacks_what_is_in_the_gaps() {
        for (mine, theirs, missing) in [
            ("A:1-5", "A:1-5", ""),
            ("A:1-5", "A:3", ""),
            ("A:1-5", "A:1-7", "A:6-7"),
            ("A:1-5:8-10", "A:1-10", "A:6-7"),
            ("A:3-4:6-7", "A:1-10", "A:1-2:5:8-10"),
            ("A:1-5", "B:1", "B:1"),
            ("A:1-5,B:1-3", "A:2,B:2-4", "B:4"),
            ("A:x:1-5", "A:1-5", "A:1-5"),
            ("A:x:1-5", "A:x:2", ""),
            ("", "A:1", "A:1"),
            ("A:1", "", ""),
        ] {
            let (mine, theirs) = (set(mine), set(theirs));
            assert_eq!(mine.missing(&theirs), set(missing), "{mine} {theirs}");
        }
    }

    #[test]
    fn a_set_has_one_way_to_be_written() {
        assert_eq!(set("A:7:1-3:4-5").to_string(), format!("{A}:1-5:7"));
        assert_eq!(set("B:1,\nA:2").to_string(), format!("{A}:2,{B}:1"));
        assert_eq!(
            set("A:1:blue:2-3").to_string(),
            format!("{A}:1,{A}:blue:2-3")
        );
        assert_eq!(set("A:1-3").and(&set("A:4-6,B:1")), set("A:1-6,B:1"));
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in [
            "A", "A:", "A:0", "A:5-3", "A:1-", "A:tag", "A:1:tag", "1:1-5", "A:1,", "A:1-2-3",
        ] {
            assert_eq!(GtidSet::parse(&text.replace('A', A)), None, "{text}");
        }
    }

    fn numbers() -> impl Strategy<Value = Vec<u64>> {
        prop::collection::vec(1..30_u64, 0..20)
    }

    fn of(numbers: &[u64]) -> GtidSet {
        let text: Vec<String> = numbers.iter().map(|n| format!("{A}:{n}")).collect();
        GtidSet::parse(&text.join(",")).unwrap()
    }

    proptest! {
        #[test]
        fn sets_behave_as_sets(mine in numbers(), theirs in numbers()) {
            let left: Vec<u64> = theirs.iter().copied().filter(|n| !mine.contains(n)).collect();
            prop_assert_eq!(of(&mine).missing(&of(&theirs)), of(&left));
            let both: Vec<u64> = mine.iter().chain(&theirs).copied().collect();
            prop_assert_eq!(of(&mine).and(&of(&theirs)), of(&both));
        }
    }

    const OLD_REPLICA: &str = include_str!("fixtures/mysql-8.0.21-replica.txt");
    const NEW_REPLICA: &str = include_str!("fixtures/mysql-8.4-replica.txt");

    fn report(dialect: &'static MySql, text: &str) -> Result<Report, String> {
        dialect.report(&Record::parse_all(text))
    }

    #[test]
    fn a_replica_is_understood_in_old_and_new_words() {
        for (dialect, text) in [(&OLD, OLD_REPLICA), (&NEW, NEW_REPLICA)] {
            let report = report(dialect, text).unwrap();
            assert_eq!((report.writable, report.feeds), (false, true));
            assert_eq!(report.position.to_string(), format!("{A}:1-77"));
            assert_eq!(report.has.to_string(), format!("{A}:1-79"));
            assert!(report.semi_sync_replica && !report.semi_sync_primary);
            let [channel] = &report.channels[..] else {
                panic!("{report:?}")
            };
            assert_eq!(channel.source, "10.0.2.31:3306");
            assert_eq!(channel.receiving, Receiving::Running);
            assert_eq!(channel.behind, Some(Duration::from_secs(3)));
            assert!(channel.applying && channel.error.is_none());
            assert_eq!(report.dialect.look(), dialect.look);
        }
    }

    #[test]
    fn what_is_wrong_with_a_replica_is_understood() {
        let stopped = NEW_REPLICA
            .replace("Replica_IO_Running: Yes", "Replica_IO_Running: Connecting")
            .replace("Seconds_Behind_Source: 3", "Seconds_Behind_Source: NULL")
            .replace(
                "Last_IO_Error: ",
                "Last_IO_Error: error connecting to source",
            );
        let channel = &report(&NEW, &stopped).unwrap().channels[0];
        assert_eq!(channel.receiving, Receiving::Connecting);
        assert_eq!(channel.behind, None);
        assert_eq!(channel.error.as_deref(), Some("error connecting to source"));
    }

    #[test]
    fn a_primary_without_semi_synchronous_replication_is_understood() {
        let (server, _) = NEW_REPLICA.split_once("--\n").unwrap();
        let primary = server.replace("read_only: 1", "read_only: 0") + "--\n--\n";
        let report = report(&NEW, &primary).unwrap();
        assert!(report.writable && report.channels.is_empty());
        assert!(!report.semi_sync_primary && !report.semi_sync_replica);
        assert_eq!(report.enable_semi_sync, None);
    }

    #[test]
    fn a_primary_without_a_replica_to_wait_for_is_recognised() {
        for (dialect, text, kind) in [(&OLD, OLD_REPLICA, "master"), (&NEW, NEW_REPLICA, "source")]
        {
            for (status, clients, in_vain) in
                [("ON", "0", true), ("ON", "2", false), ("OFF", "0", false)]
            {
                let said = [("status", status), ("clients", clients)].map(|(name, value)| {
                    format!("variable_name: Rpl_semi_sync_{kind}_{name}\nvariable_value: {value}\n")
                });
                let [first, second] = said;
                let row = "*************************** 3. row ***************************\n";
                let (server, rest) = text.split_once("--\n").unwrap();
                let (switches, channels) = rest.split_once("--\n").unwrap();
                let text = format!("{server}--\n{switches}{row}{first}{row}{second}--\n{channels}");
                let report = report(dialect, &text).unwrap();
                assert_eq!(report.waits_in_vain, in_vain, "{kind} {status} {clients}");
            }
        }
    }

    #[test]
    fn promotion_is_told_in_old_and_new_words() {
        assert_eq!(
            OLD.follow("db2", 3306)[1],
            "CHANGE MASTER TO MASTER_HOST = 'db2', MASTER_PORT = 3306, MASTER_AUTO_POSITION = 1"
        );
        assert_eq!(
            NEW.follow("db2", 3306)[1],
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'db2', SOURCE_PORT = 3306, \
             SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1"
        );
        assert_eq!(OLD.forget_primary(), ["STOP SLAVE", "RESET SLAVE ALL"]);
        assert_eq!(NEW.forget_primary(), ["STOP REPLICA", "RESET REPLICA ALL"]);
        let enable = |dialect, text| report(dialect, text).unwrap().enable_semi_sync.unwrap();
        assert!(enable(&OLD, OLD_REPLICA).contains("master_enabled"));
        assert!(enable(&NEW, NEW_REPLICA).contains("source_enabled"));
    }
}
