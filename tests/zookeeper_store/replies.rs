//! A request or its reply is lost with the connection: what is reported is what happened, and it happened once.

use rig::{Mode, Moment, Op as Wire, until};
use zkmount::session::{CreateMode, Op, OpResult, Store, StoreError};

use crate::world::{World, bytes, creation, path};

use CreateMode::{Ephemeral, EphemeralSequential, Persistent, PersistentSequential};

#[test]
fn a_lost_creation_is_sent_again() {
    let world = World::new();
    world.create("/d", Persistent).unwrap();
    for (name, mode, made) in [
        ("/p", Persistent, "/p"),
        ("/d/e", Ephemeral, "/d/e"),
        ("/d/n-", PersistentSequential, "/d/n-0000000001"),
        ("/d/m-", EphemeralSequential, "/d/m-0000000002"),
        ("/c", CreateMode::Container, "/c"),
    ] {
        let trap = world.proxy.trap().creates().path(name).lose_request();
        let (path, stat) = world.create(name, mode).unwrap();
        assert!(trap.sprung());
        assert_eq!(path.as_str(), made);
        assert_eq!(world.exists(made).unwrap(), stat);
        assert_eq!(world.counts(made), [1, 0, 0], "{name}");
    }
}

#[test]
fn a_persistent_creation_whose_reply_is_lost_is_unknown() {
    let world = World::new();
    world.create("/d", Persistent).unwrap();
    for (name, mode, made) in [("/p", Persistent, "/p"), ("/d/n-", PersistentSequential, "/d/n-0000000000")] {
        let trap = world.proxy.trap().creates().path(name).lose_reply();
        assert_eq!(world.create(name, mode).unwrap_err(), StoreError::Unknown);
        assert!(trap.sprung());
        assert_eq!(world.counts(made), [1, 0, 0], "{name}");
    }
}

#[test]
fn an_ephemeral_whose_reply_is_lost_is_recognised() {
    let world = World::new();
    for (round, moment) in [Moment::AfterRequest, Moment::BeforeReply, Moment::AfterReply].into_iter().enumerate() {
        let name = format!("/lock{round}");
        let trap = world.proxy.trap().creates().path(&name).cut(moment);
        let (made, stat) = world.create(&name, Ephemeral).unwrap();
        trap.wait();
        assert_eq!((made.as_str(), stat.ephemeral_owner), (name.as_str(), world.session()));
        assert_eq!(world.exists(&name).unwrap(), stat);
        assert_eq!(world.counts(&name), [1, 0, 0], "{moment:?}");
    }
    assert_eq!(world.store.session().incarnation, 1);
}

#[test]
fn a_taken_name_is_not_mistaken_for_ours() {
    let world = World::new();
    world.witness.create(&world.real("/theirs"), b"", Mode::Ephemeral).unwrap();
    world.create("/ours", Ephemeral).unwrap();
    world.create("/persistent", Persistent).unwrap();
    for name in ["/theirs", "/ours", "/persistent"] {
        for moment in [Moment::BeforeRequest, Moment::BeforeReply] {
            let trap = world.proxy.trap().creates().path(name).cut(moment);
            assert_eq!(world.create(name, Ephemeral).unwrap_err(), StoreError::NodeExists, "{name} {moment:?}");
            assert!(trap.sprung());
        }
        assert_eq!(world.counts(name), [1, 0, 0]);
    }
}

#[test]
fn somebody_else_takes_the_name_meanwhile() {
    let world = World::new();
    let trap = world.proxy.trap().creates().path("/lock").and_refuse().lose_request();
    let creating = world.spawn(async |store| store.create(&creation("/lock", Ephemeral)).await);
    trap.wait();
    world.witness.create(&world.real("/lock"), b"theirs", Mode::Ephemeral).unwrap();
    world.proxy.accept();
    assert_eq!(world.wait(creating).unwrap().unwrap_err(), StoreError::NodeExists);
    assert_eq!(world.witness.text(&world.real("/lock")), "theirs");
}

#[test]
fn sequential_ephemerals_are_told_apart() {
    let world = World::new();
    world.create("/q", Persistent).unwrap();
    let known = world.create("/q/n-", EphemeralSequential).unwrap().0;
    for round in 0..6 {
        // Some are applied and lose their reply, some do not arrive; all have the same name and data.
        let moment = if round % 2 == 0 { Moment::BeforeReply } else { Moment::BeforeRequest };
        let trap = world.proxy.trap().creates().path("/q/n-").nth(1 + round).cut(moment);
        let creating: Vec<_> = (0..8)
            .map(|_| world.spawn(async |store| store.create(&creation("/q/n-", EphemeralSequential)).await))
            .collect();
        let made = creating.into_iter().map(|creating| world.wait(creating).unwrap()).filter_map(|made| match made {
            Ok((name, stat)) => {
                assert_eq!(stat.ephemeral_owner, world.session());
                Some(name.to_string())
            }
            // It did not arrive; but others did, and somebody may have deleted one of them.
            Err(error) => {
                assert_eq!(error, StoreError::Unknown);
                None
            }
        });
        let mut names: Vec<String> = made.collect();
        trap.wait();
        names.push(known.to_string());
        names.sort();
        let children = world.witness.children(&world.real("/q")).unwrap();
        let mut real: Vec<String> = children.into_iter().map(|child| format!("/q/{child}")).collect();
        real.sort();
        assert_eq!(real, names, "each child has a caller who knows of it");
        let mine = names.iter().filter(|name| **name != *known.as_str());
        mine.for_each(|name| world.delete(name, None).unwrap());
    }
}

#[test]
fn an_ephemeral_that_others_delete_before_its_reply_is_not_made_twice() {
    // > An ephemeral whose reply was lost is known by its session; one that somebody else has deleted since is not made again: EIO, or EEXIST when its name is taken.
    let world = World::new();
    world.create("/q", Persistent).unwrap();
    for (name, mode, made) in [("/q/e", Ephemeral, "/q/e"), ("/q/n-", EphemeralSequential, "/q/n-0000000001")] {
        let trap = world.proxy.trap().creates().path(name).and_refuse().lose_reply();
        let creating = world.spawn(async move |store| store.create(&creation(name, mode)).await);
        trap.wait();
        world.witness.delete(&world.real(made), None).unwrap();
        world.proxy.accept();
        assert_eq!(world.wait(creating).unwrap().unwrap_err(), StoreError::Unknown, "{name}");
        assert_eq!(world.counts(made), [1, 0, 1], "{name}");
    }
    assert_eq!(world.witness.children(&world.real("/q")).unwrap(), [""; 0]);
    // The name is somebody else's by now.
    let trap = world.proxy.trap().creates().path("/q/lock").and_refuse().lose_reply();
    let creating = world.spawn(async |store| store.create(&creation("/q/lock", Ephemeral)).await);
    trap.wait();
    world.witness.delete(&world.real("/q/lock"), None).unwrap();
    world.witness.create(&world.real("/q/lock"), b"theirs", Mode::Ephemeral).unwrap();
    world.proxy.accept();
    assert_eq!(world.wait(creating).unwrap().unwrap_err(), StoreError::NodeExists);
    assert_eq!(world.witness.text(&world.real("/q/lock")), "theirs");
}

#[test]
fn an_ephemeral_that_goes_unannounced_is_not_ours_any_more() {
    let world = World::new();
    world.create("/gone", Ephemeral).unwrap();
    world.create("/there", Ephemeral).unwrap();
    let connections = world.store.session().connections;
    world.proxy.down();
    world.witness.delete(&world.real("/gone"), None).unwrap();
    world.proxy.accept();
    until("it is connected again", || world.store.session().connections > connections);
    let known: Vec<String> = world.store.ephemerals().into_iter().map(|(path, _)| path.to_string()).collect();
    assert_eq!(known, ["/there"]);
}

#[test]
fn a_session_lost_with_the_reply_leaves_nothing_to_claim() {
    let world = World::new();
    world.create("/q", Persistent).unwrap();
    for (name, mode) in [("/lock", Ephemeral), ("/q/n-", EphemeralSequential)] {
        let before = world.session();
        let trap = world.proxy.trap().creates().path(name).hold_reply();
        let creating = world.spawn(async move |store| store.create(&creation(name, mode)).await);
        trap.wait();
        world.proxy.expire_sessions();
        assert_eq!(world.wait(creating).unwrap().unwrap_err(), StoreError::SessionLost, "{name}");
        until("there is a new session", || world.store.session().id != before);
        assert_eq!(world.witness.children(&world.real("/q")).unwrap(), [""; 0]);
        assert!(!world.witness.exists(&world.real("/lock")));
    }
}

#[test]
fn sets_happen_once() {
    let world = World::new();
    world.create("/a", Persistent).unwrap();
    for (round, version) in [None, Some(1)].into_iter().enumerate() {
        let trap = world.proxy.trap().op(Wire::SetData).lose_request();
        let stat = world.set("/a", "sent again", version).unwrap();
        assert!(trap.sprung());
        assert_eq!(stat.version, i32::try_from(round).unwrap() + 1);
        assert_eq!(world.counts("/a")[1], round + 1);
    }
    for (round, version) in [None, Some(3)].into_iter().enumerate() {
        let trap = world.proxy.trap().op(Wire::SetData).lose_reply();
        assert_eq!(world.set("/a", "once", version).unwrap_err(), StoreError::Unknown);
        assert!(trap.sprung());
        assert_eq!(world.counts("/a")[1], round + 3);
    }
    // The same bytes and the next version, but they are not ours.
    let trap = world.proxy.trap().op(Wire::SetData).and_refuse().lose_request();
    let setting = world.spawn(async |store| store.set(&path("/a"), bytes("same"), Some(4)).await);
    trap.wait();
    world.witness.set(&world.real("/a"), b"same", Some(4)).unwrap();
    world.proxy.accept();
    assert_eq!(world.wait(setting).unwrap().unwrap_err(), StoreError::Unknown);
    assert_eq!(world.counts("/a")[1], 5);
}

#[test]
fn a_wrong_version_stays_wrong() {
    let world = World::new();
    world.create("/a", Persistent).unwrap();
    world.set("/a", "1", None).unwrap();
    for moment in [Moment::BeforeRequest, Moment::BeforeReply] {
        let trap = world.proxy.trap().op(Wire::SetData).cut(moment);
        assert_eq!(world.set("/a", "x", Some(7)).unwrap_err(), StoreError::BadVersion);
        assert!(trap.sprung());
        let trap = world.proxy.trap().op(Wire::Delete).cut(moment);
        assert_eq!(world.delete("/a", Some(7)).unwrap_err(), StoreError::BadVersion);
        assert!(trap.sprung());
    }
    assert_eq!(world.counts("/a"), [1, 1, 0]);
}

#[test]
fn deletes_happen_once_and_never_hit_another_znode() {
    let world = World::new();
    world.create("/a", Persistent).unwrap();
    let trap = world.proxy.trap().op(Wire::Delete).lose_request();
    world.delete("/a", None).unwrap();
    assert!(trap.sprung());
    assert_eq!(world.counts("/a"), [1, 0, 1]);

    world.create("/b", Persistent).unwrap();
    let trap = world.proxy.trap().op(Wire::Delete).lose_reply();
    assert_eq!(world.delete("/b", None).unwrap_err(), StoreError::Unknown);
    assert!(trap.sprung());
    assert_eq!(world.counts("/b"), [1, 0, 1]);

    world.create("/c", Persistent).unwrap();
    let trap = world.proxy.trap().op(Wire::Delete).and_refuse().lose_request();
    let deleting = world.spawn(async |store| store.delete(&path("/c"), None).await);
    trap.wait();
    world.witness.delete(&world.real("/c"), None).unwrap();
    world.witness.create(&world.real("/c"), b"another", Mode::Persistent).unwrap();
    world.proxy.accept();
    assert_eq!(world.wait(deleting).unwrap().unwrap_err(), StoreError::Unknown);
    assert_eq!(world.witness.text(&world.real("/c")), "another");
}

#[test]
fn transactions_happen_once() {
    let world = World::new();
    world.create("/a", Persistent).unwrap();
    let rename = |from: &str, to: &str| {
        [
            Op::Check { path: path(from), version: Some(0) },
            Op::Create(creation(to, Persistent)),
            Op::Delete { path: path(from), version: Some(0) },
        ]
    };
    let trap = world.proxy.trap().op(Wire::Multi).lose_request();
    let results = world.multi(&rename("/a", "/b")).unwrap();
    assert!(trap.sprung());
    assert_eq!(results, [OpResult::Done, OpResult::Created(path("/b")), OpResult::Done]);
    assert_eq!(world.counts("/b"), [1, 0, 0]);

    let trap = world.proxy.trap().op(Wire::Multi).lose_reply();
    assert_eq!(world.multi(&rename("/b", "/c")).unwrap_err(), StoreError::Unknown);
    assert!(trap.sprung());
    assert_eq!((world.counts("/b"), world.counts("/c")), ([1, 0, 1], [1, 0, 0]));
}

#[test]
fn a_transaction_with_an_ephemeral_is_recognised() {
    let world = World::new();
    world.create("/q", Persistent).unwrap();
    for moment in [Moment::BeforeRequest, Moment::BeforeReply] {
        let name = format!("/lock-{moment:?}");
        let touch =
            [Op::Create(creation(&name, Ephemeral)), Op::Set { path: path(&name), data: bytes(""), version: None }];
        let trap = world.proxy.trap().op(Wire::Multi).cut(moment);
        let results = world.multi(&touch).unwrap();
        assert!(trap.sprung());
        assert_eq!(results[0], OpResult::Created(path(&name)));
        assert!(matches!(results[1], OpResult::Set(stat) if stat.version == 1 && stat.data_length == 0));
        assert_eq!(world.exists(&name).unwrap().ephemeral_owner, world.session());
        assert_eq!(world.counts(&name), [1, 1, 0]);

        let enqueue =
            [Op::Check { path: path("/q"), version: None }, Op::Create(creation("/q/n-", EphemeralSequential))];
        let trap = world.proxy.trap().op(Wire::Multi).cut(moment);
        let results = world.multi(&enqueue).unwrap();
        assert!(trap.sprung());
        let OpResult::Created(made) = &results[1] else { panic!("{results:?}") };
        assert_eq!(world.witness.children(&world.real("/q")).unwrap(), [made.name()]);
        world.delete(made.as_str(), None).unwrap();
    }
    // One that fails, fails.
    let taken = [Op::Create(creation("/lock-BeforeReply", Ephemeral))];
    let trap = world.proxy.trap().op(Wire::Multi).lose_reply();
    assert_eq!(world.multi(&taken).unwrap_err(), StoreError::NodeExists);
    assert!(trap.sprung());
}

#[test]
fn reads_are_sent_again() {
    let world = World::new();
    world.create("/a", Persistent).unwrap();
    for moment in [Moment::BeforeRequest, Moment::BeforeReply] {
        for op in [Wire::GetData, Wire::GetChildren2, Wire::GetAcl, Wire::Sync, Wire::MultiRead] {
            let trap = world.proxy.trap().op(op).cut(moment);
            let a = path("/a");
            world.wait(async {
                match op {
                    Wire::GetData => assert_eq!(world.store.get(&a).await.unwrap().0, "data"),
                    Wire::GetChildren2 => assert!(world.store.children(&a).await.unwrap().0.is_empty()),
                    Wire::GetAcl => assert_eq!(world.store.get_acl(&a).await.unwrap().0.len(), 1),
                    Wire::MultiRead => assert!(world.store.peek(&[a]).await.unwrap()[0].is_ok()),
                    _ => world.store.sync(&a).await.unwrap(),
                }
            });
            assert!(trap.sprung(), "{op:?}");
        }
    }
}
