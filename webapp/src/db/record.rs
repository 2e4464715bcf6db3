//! Rows of a server's answer as text by column, which is how status rows differ the least.

use futures_util::TryStreamExt as _;
use sqlx::mysql::MySqlRow;
use sqlx::{Column as _, Either, Executor as _, MySqlConnection, Row as _};

/// A row: its columns by name. A column may be NULL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record(Vec<(String, Option<String>)>);

impl Record {
    /// The value of the first of some columns that is there and not NULL. Columns have several
    /// names because versions renamed them.
    pub(super) fn get(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| {
            let (_, value) = self
                .0
                .iter()
                .find(|(it, _)| it.eq_ignore_ascii_case(name))?;
            value.as_deref()
        })
    }

    /// Like [`get`](Self::get), or what is to be said of a row without it.
    pub(super) fn must(&self, names: &[&str]) -> Result<&str, String> {
        self.get(names)
            .ok_or_else(|| format!("it did not tell its {}", names.join(" or ")))
    }

    /// Whether a switch is on.
    pub(super) fn is_on(&self, names: &[&str]) -> bool {
        self.get(names).is_some_and(is_on)
    }

    fn of(row: &MySqlRow) -> Result<Self, sqlx::Error> {
        row.columns()
            .iter()
            .map(|column| {
                let value = row.try_get_unchecked::<Option<String>, _>(column.ordinal())?;
                Ok((column.name().to_owned(), value))
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// Whether a value of a switch means on.
pub(super) fn is_on(value: &str) -> bool {
    value == "1" || value.eq_ignore_ascii_case("on") || value.eq_ignore_ascii_case("yes")
}

/// The first column of a row, if it is a text.
pub(super) fn first_text(row: &MySqlRow) -> Option<String> {
    row.try_get_unchecked::<Option<String>, _>(0).ok().flatten()
}

/// Asks in the text protocol; returns the rows of each statement.
pub(super) async fn ask(
    connection: &mut MySqlConnection,
    statements: &str,
) -> Result<Vec<Vec<Record>>, sqlx::Error> {
    let mut answers = connection.fetch_many(statements);
    let mut results = vec![Vec::new()];
    while let Some(answer) = answers.try_next().await? {
        match (answer, results.last_mut()) {
            (Either::Right(row), Some(rows)) => rows.push(Record::of(&row)?),
            _ => results.push(Vec::new()),
        }
    }
    results.pop();
    Ok(results)
}

#[cfg(test)]
impl Record {
    /// Reads what the servers' own clients print with `\G`: rows begin with a line of stars, each
    /// other line is a name, a colon and a value. Results are separated by a line of `--`.
    pub(super) fn parse_all(text: &str) -> Vec<Vec<Self>> {
        let mut results = vec![Vec::new()];
        for line in text.lines() {
            if line == "--" {
                results.push(Vec::new());
                continue;
            }
            let Some(rows) = results.last_mut() else {
                continue;
            };
            if line.starts_with("***") {
                rows.push(Self::default());
            } else if let Some((name, value)) = line.split_once(':')
                && let Some(Self(columns)) = rows.last_mut()
            {
                let value = value.strip_prefix(' ').unwrap_or(value);
                let value = (value != "NULL").then(|| value.to_owned());
                columns.push((name.trim().to_owned(), value));
            } else if let Some(Self(columns)) = rows.last_mut()
                && let Some((_, Some(value))) = columns.last_mut()
            {
                // The second line of a value that has two.
                value.push('\n');
                value.push_str(line);
            }
        }
        results
    }
}
