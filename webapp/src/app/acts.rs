//! What people do: each act is one transaction on the primary, done once however often it is sent.

use std::time::Duration;

use super::call::Call;
use super::input::{About, Name, Password, PostText};
use super::refusal::Refusal;
use super::secret::Secret;
use super::site::Site;
use super::store::Moment;
use super::store::account::{self, AccountId, Credentials};
use super::store::attempt;
use super::store::once::{self, Act, Claim};
use super::store::post::{self, Post, PostId};
use super::store::session::{self, SessionId, Viewer};
use crate::db::{Token, Write};

/// What was written, and where: for whoever reads next.
#[derive(Clone, Debug)]
pub(crate) struct Wrote {
    pub(crate) token: Token,
    pub(crate) server: String,
}

/// A session that was begun.
pub(crate) struct SignedIn {
    pub(crate) secret: Secret,
    pub(crate) name: String,
    pub(crate) expires: Moment,
    pub(crate) wrote: Wrote,
}

/// A transaction of someone who is signed in, and whether its act is still to be done.
struct Begun {
    tx: Write,
    viewer: Viewer,
    act: Act,
    claim: Claim,
}

impl Site {
    /// Adds an account and signs in.
    pub(crate) async fn sign_up(
        &self,
        call: &Call<'_>,
        name: &Name,
        password: Password,
        key: &str,
    ) -> Result<SignedIn, Refusal> {
        self.attempts().look(call, name.as_str())?;
        let holder = call.holder().map(Secret::hash).unwrap_or_default();
        let act = Act::of(&[
            b"sign up",
            &holder,
            key.as_bytes(),
            name.as_str().as_bytes(),
        ]);

        // Asked first, as a hash takes long: there may be nothing to hash for.
        let mut tx = self.write().await?;
        self.attempts().by_network(&mut tx, call).await?;
        if once::done(&mut tx, &act).await?.is_some() {
            drop(tx);
            return self.sign_in(call, name, Some(password)).await;
        }
        let is_taken = account::credentials(&mut tx, name).await?.is_some();
        tx.commit().await?;
        if is_taken {
            return Err(taken());
        }

        let hash = self.passwords().hash(password.clone()).await?;
        let mut tx = self.write().await?;
        if let Claim::Done(_) = once::claim(&mut tx, &act, call.now).await? {
            drop(tx);
            return self.sign_in(call, name, Some(password)).await;
        }
        let added = account::add(&mut tx, name, &hash, call.now).await?;
        let id = added.ok_or_else(taken)?;
        self.open_session(call, tx, id, name.as_str()).await
    }

    /// Begins a session. A password of `None` is nobody's.
    pub(crate) async fn sign_in(
        &self,
        call: &Call<'_>,
        name: &Name,
        password: Option<Password>,
    ) -> Result<SignedIn, Refusal> {
        self.attempts().look(call, name.as_str())?;
        let mut tx = self.write().await?;
        self.attempts().by_network(&mut tx, call).await?;
        self.attempts()
            .at_account(&mut tx, call, name.as_str())
            .await?;
        let found = account::credentials(&mut tx, name).await?;
        tx.commit().await?;
        let password = password.ok_or(Refusal::WrongPassword)?;
        let right = self.check_password(password, found).await?;
        let found = right.ok_or(Refusal::WrongPassword)?;

        let mut tx = self.write().await?;
        if !is_unchanged(&mut tx, &found, name).await? {
            return Err(Refusal::WrongPassword);
        }
        self.attempts()
            .forgive(&mut tx, call, name.as_str())
            .await?;
        self.open_session(call, tx, found.id, &found.name).await
    }

    /// Compares a password with what is kept, and gives that back if it is right.
    async fn check_password(
        &self,
        password: Password,
        found: Option<Credentials>,
    ) -> Result<Option<Credentials>, Refusal> {
        let kept = found.as_ref().map(|found| found.password.clone());
        let right = self.passwords().verify(password, kept).await?;
        Ok(found.filter(|_| right))
    }

    async fn open_session(
        &self,
        call: &Call<'_>,
        mut tx: Write,
        id: AccountId,
        name: &str,
    ) -> Result<SignedIn, Refusal> {
        let secret = Secret::random()?;
        let life = self.session_life();
        session::open(&mut tx, id, &secret, &call.origin(), call.now, life).await?;
        let wrote = commit(tx).await?;
        Ok(SignedIn {
            secret,
            name: name.to_owned(),
            expires: call.now.after(life),
            wrote,
        })
    }

    /// Ends the session of the request. Nothing is written if it has ended.
    pub(crate) async fn sign_out(&self, call: &Call<'_>) -> Result<Option<Wrote>, Refusal> {
        let Some(secret) = &call.session else {
            return Ok(None);
        };
        let mut tx = self.write().await?;
        if !session::close(&mut tx, secret).await? {
            return Ok(None);
        }
        Ok(Some(commit(tx).await?))
    }

    pub(crate) async fn add_post(
        &self,
        call: &Call<'_>,
        text: &PostText,
        key: &str,
    ) -> Result<(PostId, Wrote), Refusal> {
        let parts = [&b"add post"[..], key.as_bytes(), text.as_str().as_bytes()];
        let mut begun = self.begin(call, &parts).await?;
        let id = match begun.claim {
            Claim::Done(id) => PostId(id),
            Claim::Fresh => {
                let author = begun.viewer.account;
                let id = post::add(&mut begun.tx, author, text, call.now).await?;
                once::keep(&mut begun.tx, &begun.act, id.0).await?;
                id
            }
        };
        Ok((id, commit(begun.tx).await?))
    }

    /// Replaces the text of a post, if `version` is the one that it has.
    pub(crate) async fn edit_post(
        &self,
        call: &Call<'_>,
        id: PostId,
        version: u32,
        text: &PostText,
        key: &str,
    ) -> Result<Wrote, Refusal> {
        let parts = [
            &b"edit post"[..],
            key.as_bytes(),
            &id.0.to_be_bytes(),
            &version.to_be_bytes(),
            text.as_str().as_bytes(),
        ];
        let mut begun = self.begin(call, &parts).await?;
        if begun.claim == Claim::Fresh {
            let author = begun.viewer.account;
            if !post::edit(&mut begun.tx, id, author, version, text, call.now).await? {
                own(post::get(&mut begun.tx, id).await?, &begun.viewer)?;
                return Err(Refusal::Conflict);
            }
        }
        commit(begun.tx).await
    }

    pub(crate) async fn delete_post(
        &self,
        call: &Call<'_>,
        id: PostId,
        key: &str,
    ) -> Result<Wrote, Refusal> {
        let parts = [&b"delete post"[..], key.as_bytes(), &id.0.to_be_bytes()];
        let mut begun = self.begin(call, &parts).await?;
        if begun.claim == Claim::Fresh
            && !post::delete(&mut begun.tx, id, begun.viewer.account).await?
        {
            own(post::get(&mut begun.tx, id).await?, &begun.viewer)?;
            return Err(Refusal::NotFound);
        }
        commit(begun.tx).await
    }

    pub(crate) async fn set_about(
        &self,
        call: &Call<'_>,
        about: &About,
        key: &str,
    ) -> Result<Wrote, Refusal> {
        let parts = [&b"set about"[..], key.as_bytes(), about.as_str().as_bytes()];
        let mut begun = self.begin(call, &parts).await?;
        if begun.claim == Claim::Fresh {
            account::set_about(&mut begun.tx, begun.viewer.account, about).await?;
        }
        commit(begun.tx).await
    }

    /// Sets a password, and ends all other sessions.
    pub(crate) async fn set_password(
        &self,
        call: &Call<'_>,
        current: Option<Password>,
        new: &str,
        key: &str,
    ) -> Result<Wrote, Refusal> {
        // Not the passwords: a fast hash of them would be worth stealing.
        let parts = [&b"set password"[..], key.as_bytes()];
        let mut begun = self.begin(call, &parts).await?;
        if let Claim::Done(_) = begun.claim {
            return commit(begun.tx).await;
        }
        let name = Name::parse(&begun.viewer.name)
            .map_err(|_| Refusal::Internal(anyhow::anyhow!("an account has no valid name")))?;
        let found = account::credentials(&mut begun.tx, &name).await?;
        drop(begun);

        let new = Password::choose(new, &name).map_err(|why| Refusal::invalid("new", why.0))?;
        self.attempts().look(call, name.as_str())?;
        let mut tx = self.write().await?;
        self.attempts()
            .at_account(&mut tx, call, name.as_str())
            .await?;
        tx.commit().await?;
        let current = current.ok_or_else(wrong_current)?;
        let right = self.check_password(current, found).await?;
        let found = right.ok_or_else(wrong_current)?;
        let hash = self.passwords().hash(new).await?;

        let mut begun = self.begin(call, &parts).await?;
        if begun.claim == Claim::Fresh {
            if !is_unchanged(&mut begun.tx, &found, &name).await? {
                return Err(wrong_current());
            }
            let Viewer {
                account, session, ..
            } = begun.viewer;
            self.attempts()
                .forgive(&mut begun.tx, call, name.as_str())
                .await?;
            account::set_password(&mut begun.tx, account, &hash).await?;
            session::revoke_others(&mut begun.tx, account, session).await?;
        }
        commit(begun.tx).await
    }

    /// Ends one of one's own sessions.
    pub(crate) async fn end_session(
        &self,
        call: &Call<'_>,
        id: SessionId,
        key: &str,
    ) -> Result<Wrote, Refusal> {
        let parts = [&b"end session"[..], key.as_bytes(), &id.0.to_be_bytes()];
        let mut begun = self.begin(call, &parts).await?;
        if begun.claim == Claim::Fresh
            && !session::revoke(&mut begun.tx, begun.viewer.account, id).await?
        {
            return Err(Refusal::NotFound);
        }
        commit(begun.tx).await
    }

    /// Ends all of one's own sessions but this one.
    pub(crate) async fn end_others(&self, call: &Call<'_>, key: &str) -> Result<Wrote, Refusal> {
        let mut begun = self.begin(call, &[b"end others", key.as_bytes()]).await?;
        if begun.claim == Claim::Fresh {
            let Viewer {
                account, session, ..
            } = begun.viewer;
            session::revoke_others(&mut begun.tx, account, session).await?;
        }
        commit(begun.tx).await
    }

    /// Begins a transaction for an act of whoever is signed in, and claims it.
    async fn begin(&self, call: &Call<'_>, parts: &[&[u8]]) -> Result<Begun, Refusal> {
        let secret = call.session.as_ref().ok_or(Refusal::SignedOut)?;
        let mut tx = self.write().await?;
        let viewer = session::find(&mut tx, secret, call.now).await?;
        let viewer = viewer.ok_or(Refusal::SignedOut)?;
        let account = viewer.account.0.to_be_bytes();
        let whole: Vec<&[u8]> = [&account[..]]
            .into_iter()
            .chain(parts.iter().copied())
            .collect();
        let act = Act::of(&whole);
        let claim = once::claim(&mut tx, &act, call.now).await?;
        Ok(Begun {
            tx,
            viewer,
            act,
            claim,
        })
    }

    /// Forgets what has ended: some of it, so that no transaction is large. Whether there is more.
    pub(crate) async fn sweep(&self, now: Moment) -> Result<bool, Refusal> {
        /// Who sends a form a second time after this long means it.
        const REMEMBER: Duration = Duration::from_secs(2 * 86_400);
        const MOST: u32 = 500;
        let mut tx = self.write().await?;
        let sessions = session::sweep(&mut tx, now, MOST).await?;
        let acts = once::sweep(&mut tx, now.before(REMEMBER), MOST).await?;
        let attempts = attempt::sweep(&mut tx, MOST).await?;
        tx.commit().await?;
        Ok(sessions.max(acts).max(attempts) == u64::from(MOST))
    }
}

async fn commit(tx: Write) -> Result<Wrote, Refusal> {
    let server = tx.server().to_owned();
    let token = tx.commit().await?;
    Ok(Wrote { token, server })
}

/// A post, if it is the viewer's.
pub(crate) fn own(post: Option<Post>, viewer: &Viewer) -> Result<Post, Refusal> {
    let post = post.ok_or(Refusal::NotFound)?;
    if post.account == viewer.account {
        Ok(post)
    } else {
        Err(Refusal::Forbidden)
    }
}

/// Whether an account still has the password that was compared, so that nobody signs in with one
/// that was replaced meanwhile.
async fn is_unchanged(
    tx: &mut Write,
    compared: &Credentials,
    name: &Name,
) -> Result<bool, Refusal> {
    let current = account::credentials(tx, name).await?;
    Ok(current
        .is_some_and(|current| current.id == compared.id && current.password == compared.password))
}

fn taken() -> Refusal {
    Refusal::invalid("name", "This name is taken.")
}

fn wrong_current() -> Refusal {
    Refusal::invalid("current", "This is not your password.")
}
