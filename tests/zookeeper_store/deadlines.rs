//! No answer comes: every operation ends by its deadline, and says what is known.

use std::time::{Duration, Instant};

use zkmount::session::zookeeper::Settings;
use zkmount::session::{CreateMode, SessionState, Store, StoreError};

use crate::world::{World, bytes, creation, path};

fn quick(settings: Settings) -> Settings {
    Settings { operation_timeout: Duration::from_secs(2), ..settings }
}

#[test]
fn a_silent_server_is_not_waited_for() {
    let world = World::with(quick);
    world.witness.create(&world.real("/a"), b"", rig::Mode::Persistent).unwrap();
    world.proxy.stall_both();
    let began = Instant::now();
    world.wait(async {
        let (store, a) = (&world.store, path("/a"));
        let (persistent, ephemeral) = (creation("/p", CreateMode::Persistent), creation("/e", CreateMode::Ephemeral));
        let all = tokio::join!(
            async { store.exists(&a).await.unwrap_err() },
            async { store.get(&a).await.unwrap_err() },
            async { store.children(&a).await.unwrap_err() },
            async { store.peek(std::slice::from_ref(&a)).await.unwrap_err() },
            async { store.sync(&a).await.unwrap_err() },
            async { store.set(&a, bytes("x"), None).await.unwrap_err() },
            async { store.delete(&a, None).await.unwrap_err() },
            async { store.create(&persistent).await.unwrap_err() },
            async { store.create(&ephemeral).await.unwrap_err() },
            async { store.multi(&[zkmount::session::Op::Check { path: a.clone(), version: None }]).await.unwrap_err() },
        );
        use StoreError::{TimedOut, Unanswered};
        assert_eq!((all.0, all.1, all.2, all.3, all.4), (TimedOut, TimedOut, TimedOut, TimedOut, TimedOut));
        assert_eq!((all.5, all.6, all.7, all.8), (Unanswered, Unanswered, Unanswered, Unanswered));
        assert_eq!(all.9.error, Unanswered);
    });
    assert!(began.elapsed() < Duration::from_secs(20));
    // Asking for the state never waits.
    let view = world.store.session();
    assert!(matches!(view.state, SessionState::Connected | SessionState::Suspended));
}
