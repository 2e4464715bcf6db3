//! Passwords, as argon2id hashes (RFC 9106), computed by few at a time: each takes 19 MiB and the
//! better part of a core for tens of milliseconds.

use std::sync::Arc;
use std::time::Duration;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::input::Password;
use super::secret::Secret;

/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(3);

/// Hashes and compares passwords.
#[derive(Clone)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
    /// Nobody's hash: compared with where there is no account, so that it takes as long.
    nobody: Arc<str>,
}

/// Why a password was neither hashed nor compared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unhashed {
    /// Too many others are at it.
    #[error("too many passwords are being checked")]
    Busy,
    /// The system has no random bytes or no memory, or what is kept is no hash.
    #[error("failed to hash a password: {0}")]
    Failed(String),
}

impl Passwords {
    /// At most `turns` at a time.
    pub(crate) fn new(turns: usize) -> Result<Self, Unhashed> {
        let random = Secret::random().map_err(failed)?;
        Ok(Self {
            turns: Arc::new(Semaphore::new(turns.max(1))),
            nobody: hash(random.as_bytes())?.into(),
        })
    }

    /// A hash to keep, with its salt and parameters.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, Unhashed> {
        let turn = self.turn().await?;
        blocking(turn, move || hash(password.as_bytes())).await
    }

    /// Whether a password is the one of this hash. Without a hash it is not, which takes as long
    /// to find out.
    pub(crate) async fn verify(
        &self,
        password: Password,
        kept: Option<String>,
    ) -> Result<bool, Unhashed> {
        let turn = self.turn().await?;
        let nobody = Arc::clone(&self.nobody);
        blocking(turn, move || match kept {
            Some(kept) => verify(password.as_bytes(), &kept),
            None => verify(password.as_bytes(), &nobody).map(|_| false),
        })
        .await
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Unhashed> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        match tokio::time::timeout(PATIENCE, turn).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(Unhashed::Busy),
        }
    }
}

/// Runs on a thread that may block. The turn is given back when the work is done, not when the
/// request that wanted it goes away.
async fn blocking<T: Send + 'static>(
    turn: OwnedSemaphorePermit,
    work: impl FnOnce() -> Result<T, Unhashed> + Send + 'static,
) -> Result<T, Unhashed> {
    let done = tokio::task::spawn_blocking(move || {
        let result = work();
        drop(turn);
        result
    });
    done.await.unwrap_or_else(|error| Err(failed(error)))
}

fn hash(password: &[u8]) -> Result<String, Unhashed> {
    let hash: PasswordHash = Argon2::default().hash_password(password).map_err(failed)?;
    Ok(hash.to_string())
}

fn verify(password: &[u8], kept: &str) -> Result<bool, Unhashed> {
    let kept = PasswordHash::new(kept).map_err(failed)?;
    match Argon2::default().verify_password(password, &kept) {
        Ok(()) => Ok(true),
        Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

fn failed(error: impl std::fmt::Display) -> Unhashed {
    Unhashed::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(text: &str) -> Password {
        Password::guess(text).unwrap()
    }

    #[tokio::test]
    async fn a_password_is_its_own_and_no_other() {
        let passwords = Passwords::new(2).unwrap();
        let kept = passwords.hash(guess("correct horse")).await.unwrap();
        // The second of RFC 9106's recommendations is for machines with less memory; this is
        // OWASP's, for servers that do it often.
        assert!(
            kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{kept}"
        );
        let again = passwords.hash(guess("correct horse")).await.unwrap();
        assert_ne!(kept, again);

        let verify = |text: &str| passwords.verify(guess(text), Some(kept.clone()));
        assert!(verify("correct horse").await.unwrap());
        assert!(!verify("correct horsf").await.unwrap());
        assert!(!verify("").await.unwrap());
        assert!(
            !passwords
                .verify(guess("correct horse"), None)
                .await
                .unwrap()
        );
    }

    #[tokio::test]
    async fn what_is_no_hash_is_no_match() {
        let passwords = Passwords::new(1).unwrap();
        let kept = Some("plain".to_owned());
        assert!(passwords.verify(guess("plain"), kept).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_gets_no_turn_is_told_so() {
        let passwords = Passwords::new(1).unwrap();
        let taken = passwords.turn().await.unwrap();
        let waited = passwords.hash(guess("correct horse")).await;
        assert!(matches!(waited, Err(Unhashed::Busy)));
        drop(taken);
        assert!(passwords.turn().await.is_ok());
    }
}
