//! What a browser has written, carried by the browser itself, so that its next reads see it on
//! whichever server they happen.
//!
//! It is signed: a position that was never reached makes a read wait, and holds a connection as
//! long, so nobody may make one up.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::secret::{Purpose, Secret};
use crate::db::Token;

/// A replica that is further behind than this left the rotation long ago.
pub(crate) const LIFE: Duration = Duration::from_secs(600);

/// Longer ones fit in no cookie. A cluster in order has none such.
const LONGEST: usize = 2048;

/// A token, as a cookie's value. `None`: there is nothing to wait for, or no way to say it.
pub(crate) fn seal(token: &Token, secret: &Secret) -> Option<String> {
    if token.is_empty() || token.as_str().len() > LONGEST {
        return None;
    }
    let code = secret.code(Purpose::Written, token.as_str().as_bytes());
    let token = URL_SAFE_NO_PAD.encode(token.as_str());
    Some(format!("{token}.{code}"))
}

/// The token that one of our servers sealed.
pub(crate) fn open(sealed: &str, secret: &Secret) -> Option<Token> {
    let (token, code) = sealed.split_once('.')?;
    let token = URL_SAFE_NO_PAD.decode(token).ok()?;
    if !secret.made(code, Purpose::Written, &token) {
        return None;
    }
    String::from_utf8(token).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_and_a_forged_one_does_not() {
        let secret = Secret::random().unwrap();
        let token: Token = "0-1-105,1-7-3".parse().unwrap();
        let sealed = seal(&token, &secret).unwrap();
        assert_eq!(open(&sealed, &secret), Some(token));
        assert_eq!(open(&sealed, &Secret::random().unwrap()), None);

        let (_, code) = sealed.split_once('.').unwrap();
        let further = URL_SAFE_NO_PAD.encode("0-1-999,1-7-3");
        for bad in [
            "",
            ".",
            "0-1-105",
            &format!("{further}.{code}"),
            &sealed[..20],
        ] {
            assert_eq!(open(bad, &secret), None, "{bad:?}");
        }
    }

    #[test]
    fn nothing_written_is_nothing_to_wait_for() {
        let secret = Secret::random().unwrap();
        assert_eq!(seal(&Token::default(), &secret), None);
    }
}
