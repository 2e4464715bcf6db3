//! What stands for a write, so that a later read can ask to see it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::position::Position;

/// A position in the history of all writes: a GTID, or a set of them.
///
/// It is plain text that fits in a session. One that came from a client is as harmless as any: the
/// worst it can do is to make its own reads wait, for a bounded time.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(String);

/// A text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no position in a database's history")]
pub struct NoToken;

impl Token {
    /// So long is no position that a cluster in order has.
    const MAX: usize = 4096;

    /// Whether there is nothing to wait for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The position that it stands for; none if there is nothing to wait for.
    pub(super) fn position(&self) -> Option<Position> {
        Position::parse(&self.0).filter(|position| !position.is_empty())
    }
}

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        // MySQL breaks its lines between two servers.
        let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        if text.len() > Self::MAX || Position::parse(&text).is_none() {
            return Err(NoToken);
        }
        Ok(Self(text))
    }
}

impl TryFrom<String> for Token {
    type Error = NoToken;

    fn try_from(text: String) -> Result<Self, NoToken> {
        text.parse()
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.0
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_being_text() {
        for text in [
            "",
            "0-1-105",
            "0-1-105,1-7-3",
            "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:11",
        ] {
            let token: Token = text.parse().unwrap();
            assert_eq!(token.to_string(), text);
            assert_eq!(token.is_empty(), token.position().is_none());
        }
    }

    #[test]
    fn what_is_no_position_is_refused() {
        let long = vec!["0-1-1"; 1000].join(",");
        for text in [
            "'",
            "0-1",
            "0-1-x",
            "0-1-105' OR 1=1",
            "a:1-5",
            "-",
            "0-1-5,",
            &long,
        ] {
            assert_eq!(text.parse::<Token>(), Err(NoToken), "{text:.40}");
        }
    }
}
