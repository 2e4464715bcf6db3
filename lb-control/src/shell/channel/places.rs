//! Places for connections that have not shown yet who they are.

use std::collections::VecDeque;
use std::net::IpAddr;
use tokio::task::AbortHandle;

/// So many there are. Whoever fills them anew all the time must be faster with all of them than the
/// peer is with one handshake.
const MANY: usize = 16;

/// Those that are taken, the oldest in front.
#[derive(Default)]
pub(super) struct Places {
    taken: VecDeque<(IpAddr, AbortHandle)>,
}

impl Places {
    /// Takes a place until the attempt has ended. Where none is free, the oldest attempt is ended,
    /// and whose it was is returned: who is silent must not keep out who would speak.
    pub(super) fn take(&mut self, from: IpAddr, attempt: AbortHandle) -> Option<IpAddr> {
        self.taken.retain(|(_, attempt)| !attempt.is_finished());
        self.taken.push_back((from, attempt));
        if self.taken.len() <= MANY {
            return None;
        }
        let (out, attempt) = self.taken.pop_front()?;
        attempt.abort();
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::sync::oneshot;
    use tokio::task::JoinSet;

    #[tokio::test]
    async fn the_oldest_that_has_not_ended_makes_room() {
        let mut places = Places::default();
        let mut attempts = JoinSet::new();
        let address = |last: usize| IpAddr::from([192, 0, 2, last as u8]);
        let (done, is_done) = oneshot::channel::<()>();
        let first = attempts.spawn(async { drop(is_done.await) });
        assert_eq!(places.take(address(0), first), None);
        for last in 1..MANY {
            assert_eq!(places.take(address(last), attempts.spawn(pending())), None);
        }
        // The first one says who it is, and has no place any more.
        done.send(()).unwrap();
        attempts.join_next().await.unwrap().unwrap();
        let next = attempts.spawn(pending());
        assert_eq!(places.take(address(MANY), next), None);
        let last = attempts.spawn(pending());
        assert_eq!(places.take(address(MANY + 1), last), Some(address(1)));
        let ended = attempts.join_next().await.unwrap();
        assert!(ended.unwrap_err().is_cancelled());
        assert_eq!(attempts.len(), MANY);
    }
}
