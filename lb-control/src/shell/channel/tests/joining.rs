//! Hosts that are paired by a token, and tokens that are of no use.

use super::*;
use crate::proto::pairing::OneTimeSecret;
use crate::state::{self, secret};

/// Two hosts that are not paired, and are started.
fn unpaired(number: u8) -> [Host; 2] {
    [0, 1].map(|host| {
        let mut host = Host::new(number, host);
        host.start();
        host
    })
}

async fn listens(host: &Host) -> bool {
    TcpStream::connect(host.settings.links[0].local)
        .await
        .is_ok()
}

#[tokio::test]
async fn a_host_that_joins_is_connected_and_has_the_secret() {
    // Whoever invites, the one with the lower address dials.
    for (number, inviting) in [(40, 0), (41, 1)] {
        let mut hosts = unpaired(number);
        assert!(!listens(&hosts[inviting]).await);
        let invited = hosts[inviting].channel().pairing().invite().await.unwrap();
        let token = invited.token.encode();
        let joining = hosts[1 - inviting].channel().pairing();
        joining.join(&token).await.unwrap();
        let secret = hosts[inviting].settings.secret;
        let [a, b] = &mut hosts;
        for host in [&mut *a, &mut *b] {
            let paired = host
                .until(|event| matches!(event, Event::Paired { .. }))
                .await;
            let expected = (host.settings.secret != secret).then_some(secret);
            assert_eq!(paired, Event::Paired { secret: expected });
            host.up().await;
        }
        assert!(a.send("hello"));
        assert_eq!(b.frame().await, "hello");
        // All of it outlives the two.
        let state_dirs = [&*a, &*b].map(|host| host.directory.path());
        let kept = state_dirs.map(|state_dir| identity::load_peer(state_dir).unwrap());
        assert_eq!(kept, [Some(b.certificate()), Some(a.certificate())]);
        let joined = secret::load_or_create(state_dirs[1 - inviting]).unwrap();
        assert_eq!(joined, secret.0);
        // The token is used up.
        let again = joining.join(&token).await.unwrap_err();
        let message = again.to_string();
        assert!(message.contains("`lbctl pair init` there"), "{message}");
    }
}

#[tokio::test]
async fn who_asks_with_a_wrong_secret_does_not_end_the_invitation() {
    let [a, b] = unpaired(42);
    let invited = b.channel().pairing().invite().await.unwrap();
    let mut wrong = invited.token.clone();
    wrong.secret = OneTimeSecret::new([0; OneTimeSecret::LEN]);
    for _ in 0..6 {
        let error = a.channel().pairing().join(&wrong.encode()).await;
        let message = error.unwrap_err().to_string();
        assert!(message.contains("not of the latest"), "{message}");
    }
    let status = b.channel().pairing().status().await.unwrap();
    assert_eq!(status.strangers, 6);
    for host in [&a, &b] {
        let status = host.channel().pairing().status().await.unwrap();
        assert_eq!(status.peer, None);
        assert_eq!(identity::load_peer(host.directory.path()).unwrap(), None);
    }
    // The secret of the one that was refused is its own.
    assert!(!a.directory.path().join("secret").exists());
    let right = a.channel().pairing().join(&invited.token.encode()).await;
    right.unwrap();
}

#[tokio::test]
async fn a_later_invitation_voids_the_earlier_one() {
    let [a, b] = unpaired(43);
    let pairing = b.channel().pairing();
    let [earlier, later] = [pairing.invite().await, pairing.invite().await];
    let join = |invited: anyhow::Result<Invited>| {
        let (pairing, token) = (a.channel().pairing(), invited.unwrap().token.encode());
        async move { pairing.join(&token).await }
    };
    let error = join(earlier).await.unwrap_err().to_string();
    assert!(error.contains("not of the latest"), "{error}");
    join(later).await.unwrap();
}

#[tokio::test]
async fn a_token_that_names_another_host_is_not_answered() {
    let [a, b] = unpaired(44);
    let invited = b.channel().pairing().invite().await.unwrap();
    // Somebody else is at the address of the token.
    let mut token = invited.token.clone();
    token.certificate = Host::new(44, 1).certificate().to_vec();
    let error = a.channel().pairing().join(&token.encode()).await;
    let message = error.unwrap_err().to_string();
    assert!(message.contains("certificate"), "{message}");
    let own = b.channel().pairing().join(&invited.token.encode()).await;
    assert!(matches!(own, Err(JoinError::Own)));
    let garbage = a.channel().pairing().join("garbage").await;
    assert!(matches!(garbage, Err(JoinError::Token(_))));
    drop(b);
    let nobody = a.channel().pairing().join(&invited.token.encode()).await;
    assert!(matches!(nobody, Err(JoinError::Unreached(_))), "{nobody:?}");
}

#[tokio::test]
async fn a_peer_that_is_forgotten_is_a_stranger() {
    let [mut a, mut b] = connected(45).await;
    let state_dir = a.directory.path().to_owned();
    state::save_peer(&state_dir, &b.certificate(), None).unwrap();
    a.channel().pairing().forget().await.unwrap();
    assert_eq!(a.down().await, "the peer was forgotten");
    b.down().await;
    assert_eq!(identity::load_peer(&state_dir).unwrap(), None);
    let status = a.channel().pairing().status().await.unwrap();
    assert_eq!((status.peer, status.connection), (None, None));
    assert!(!listens(&a).await);
    // And may come back.
    let token = b.channel().pairing().invite().await.unwrap().token.encode();
    a.channel().pairing().join(&token).await.unwrap();
    a.up().await;
    b.up().await;
}

#[tokio::test]
async fn what_cannot_be_kept_pairs_nobody() {
    let [a, b] = unpaired(46);
    let invited = b.channel().pairing().invite().await.unwrap();
    // In the way of the certificate of the peer.
    let path = b.directory.path().join("pair/.peer.pem.new");
    std::fs::create_dir(path).unwrap();
    let error = a.channel().pairing().join(&invited.token.encode()).await;
    let message = error.unwrap_err().to_string();
    assert!(message.contains("peer.pem"), "{message}");
    for host in [&a, &b] {
        let status = host.channel().pairing().status().await.unwrap();
        assert_eq!(status.peer, None);
    }
}

#[tokio::test]
async fn who_joins_and_cannot_keep_it_goes_on_with_its_own_secret() {
    let [mut a, b] = unpaired(47);
    let own = secret::load_or_create(a.directory.path()).unwrap();
    let way = a.directory.path().join("pair/.peer.pem.new");
    std::fs::create_dir(&way).unwrap();
    let pairing = b.channel().pairing();
    let token = pairing.invite().await.unwrap().token.encode();
    let error = a.channel().pairing().join(&token).await.unwrap_err();
    assert!(matches!(error, JoinError::NotKept(_)), "{error}");
    let kept = secret::load_or_create(a.directory.path()).unwrap();
    assert_eq!(kept, own);
    assert!(!a.channel().is_paired());
    std::fs::remove_dir(&way).unwrap();
    let token = pairing.invite().await.unwrap().token.encode();
    a.channel().pairing().join(&token).await.unwrap();
    a.up().await;
}
