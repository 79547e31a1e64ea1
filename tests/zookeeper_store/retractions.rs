//! An ephemeral whose caller was told that it failed does not stay.

use std::time::Duration;

use rig::{Op as Wire, until};
use zkmount::session::zookeeper::Settings;
use zkmount::session::{CreateMode, Op, Store, StoreError};

use crate::world::{World, creation, path};

use CreateMode::{Ephemeral, EphemeralSequential, Persistent};

fn quick(settings: Settings) -> Settings {
    Settings { operation_timeout: Duration::from_secs(1), ..settings }
}

#[test]
fn one_that_is_answered_too_late_is_deleted() {
    let world = World::with(quick);
    let mut made = 0;
    for (name, mode) in [("/e", Ephemeral), ("/n-", EphemeralSequential)] {
        for hold_request in [true, false] {
            let bait = world.proxy.trap().creates().path(name);
            let trap = if hold_request { bait.hold_request() } else { bait.hold_reply() };
            assert_eq!(world.create(name, mode).unwrap_err(), StoreError::Unanswered, "{name}");
            trap.wait();
            trap.release();
            made += 1;
            until("it was made and deleted", || {
                world.applied().len() == 2 * made && world.witness.children(&world.real("")).unwrap().is_empty()
            });
        }
    }
    assert_eq!(world.store.session().incarnation, 1);
}

#[test]
fn one_whose_connection_is_cut_after_the_deadline_is_deleted() {
    let world = World::with(quick);
    world.witness.create(&world.real("/q"), b"", rig::Mode::Persistent).unwrap();
    let trap = world.proxy.trap().creates().path("/q/n-").hold_reply();
    assert_eq!(world.create("/q/n-", EphemeralSequential).unwrap_err(), StoreError::Unanswered);
    trap.wait();
    assert_eq!(world.witness.children(&world.real("/q")).unwrap().len(), 1);
    world.proxy.cut();
    until("it is deleted", || world.witness.children(&world.real("/q")).unwrap().is_empty());
    assert_eq!(world.counts("/q/n-0000000000"), [1, 0, 1]);
}

#[test]
fn one_in_a_transaction_is_deleted() {
    let world = World::with(quick);
    let trap = world.proxy.trap().op(Wire::Multi).hold_reply();
    let ops = [Op::Create(creation("/e", Ephemeral)), Op::Create(creation("/p", Persistent))];
    assert_eq!(world.multi(&ops).unwrap_err(), StoreError::Unanswered);
    trap.wait();
    trap.release();
    until("it is deleted", || world.counts("/e") == [1, 0, 1]);
    assert!(world.witness.exists(&world.real("/p")), "what is persistent stays");
}

#[test]
fn one_whose_caller_has_gone_away_is_deleted() {
    let world = World::new();
    let trap = world.proxy.trap().creates().path("/e").hold_reply();
    let creating = world.spawn(async |store| store.create(&creation("/e", Ephemeral)).await);
    trap.wait();
    creating.abort();
    assert!(world.wait(creating).unwrap_err().is_cancelled());
    trap.release();
    until("it is deleted", || world.counts("/e") == [1, 0, 1]);
}

#[test]
fn a_request_that_was_never_sent_makes_nothing() {
    let world = World::new();
    world.proxy.down();
    let creating = world.spawn(async |store| store.create(&creation("/e", Ephemeral)).await);
    until("the store notices", || world.store.session().state == zkmount::session::SessionState::Suspended);
    creating.abort();
    assert!(world.wait(creating).unwrap_err().is_cancelled());
    world.proxy.accept();
    until("it is made and deleted, or was never sent", || {
        world.store.session().live && !world.witness.exists(&world.real("/e"))
    });
}

#[test]
fn a_caller_can_ask_for_it() {
    let world = World::new();
    let (name, stat) = world.create("/e", Ephemeral).unwrap();
    let other = world.create("/other", Ephemeral).unwrap().1;
    world.wait(async { world.store.retract(&name, other.czxid) });
    let persistent = world.create("/p", Persistent).unwrap();
    world.wait(async { world.store.retract(&persistent.0, persistent.1.czxid) });
    world.wait(world.store.sync(&path("/"))).unwrap();
    assert!(world.exists("/e").is_ok() && world.exists("/p").is_ok(), "not the one that was meant, not ours");
    // It lasts across an interruption.
    world.proxy.down();
    world.wait(async { world.store.retract(&name, stat.czxid) });
    world.proxy.accept();
    until("it is deleted", || world.counts("/e") == [1, 0, 1]);
    assert_eq!(world.counts("/other"), [1, 0, 0]);
    assert_eq!(world.counts("/p"), [1, 0, 0]);
}
