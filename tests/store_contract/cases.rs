//! The cases.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use zkmount::mapping::{Acl, Stat, ZnodePath, Zxid};
use zkmount::session::{
    Change, CreateMode, Creation, Event, MultiError, Op, OpResult, SessionState, StateChange, Store, StoreError,
};

use crate::world::{BOB, Kind, NOBODY, Seen, World, bytes, creation, path};

use CreateMode::{Container, Ephemeral, EphemeralSequential, Persistent, PersistentSequential, Ttl};

pub async fn a_znode_lives_and_dies<K: Kind>(world: World<K>) {
    let me = &world.me;
    let (made, stat) = me.create(&creation("/a", "one", Persistent)).await.unwrap();
    assert_eq!(made, path("/a"));
    assert!(stat.czxid > Zxid(0) && stat.czxid == stat.mzxid && stat.mzxid == stat.pzxid);
    assert_eq!((stat.version, stat.cversion, stat.aversion, stat.data_length), (0, 0, 0, 3));
    assert!(stat.ctime == stat.mtime && stat.ctime > 1_500_000_000_000);
    assert_eq!((stat.ephemeral_owner, stat.num_children), (NOBODY, 0));
    assert_eq!(me.exists(&path("/a")).await.unwrap(), stat);
    assert_eq!(me.get(&path("/a")).await.unwrap(), (bytes("one"), stat));

    let set = me.set(&path("/a"), bytes("three"), None).await.unwrap();
    assert!(set.mzxid > stat.mzxid);
    assert_eq!(set, Stat { mzxid: set.mzxid, mtime: set.mtime, version: 1, data_length: 5, ..stat });

    me.create(&creation("/a/b", "", Persistent)).await.unwrap();
    let parent = me.exists(&path("/a")).await.unwrap();
    assert_eq!((parent.cversion, parent.num_children, parent.version), (1, 1, 1));
    assert_eq!(parent.pzxid, me.exists(&path("/a/b")).await.unwrap().czxid);
    assert_eq!(me.children(&path("/a")).await.unwrap(), (vec!["b".to_owned()], parent));
    me.delete(&path("/a/b"), None).await.unwrap();
    let childless = me.exists(&path("/a")).await.unwrap();
    assert_eq!((childless.cversion, childless.num_children), (2, 0));
    assert!(childless.pzxid > parent.pzxid && childless.mzxid == parent.mzxid);

    me.delete(&path("/a"), Some(1)).await.unwrap();
    assert_eq!(me.exists(&path("/a")).await, Err(StoreError::NoNode));
    let (_, again) = me.create(&creation("/a", "", Persistent)).await.unwrap();
    assert!(again.czxid > stat.czxid && again.version == 0);
    me.sync(&path("/a")).await.unwrap();
}

pub async fn errors_are_the_servers<K: Kind>(world: World<K>) {
    let me = &world.me;
    me.create(&creation("/d", "", Persistent)).await.unwrap();
    me.create(&creation("/d/x", "", Persistent)).await.unwrap();
    me.create(&creation("/e", "", Ephemeral)).await.unwrap();
    let create = async |text, mode| me.create(&creation(text, "", mode)).await.unwrap_err();
    assert_eq!(create("/d", Persistent).await, StoreError::NodeExists);
    assert_eq!(create("/d", Ephemeral).await, StoreError::NodeExists);
    assert_eq!(create("/no/x", Persistent).await, StoreError::NoNode);
    assert_eq!(create("/no/x", EphemeralSequential).await, StoreError::NoNode);
    assert_eq!(create("/e/x", Persistent).await, StoreError::NoChildrenForEphemerals);
    assert_eq!(create("/e/x", EphemeralSequential).await, StoreError::NoChildrenForEphemerals);
    assert!(matches!(create("/", Persistent).await, StoreError::BadArguments(_)));
    assert!(matches!(create("/t", Ttl(Duration::ZERO)).await, StoreError::BadArguments(_)));
    assert_eq!(me.get(&path("/no")).await.unwrap_err(), StoreError::NoNode);
    assert_eq!(me.children(&path("/no")).await.unwrap_err(), StoreError::NoNode);
    assert_eq!(me.get_acl(&path("/no")).await.unwrap_err(), StoreError::NoNode);
    assert_eq!(me.set(&path("/no"), Bytes::new(), None).await.unwrap_err(), StoreError::NoNode);
    assert_eq!(me.set_acl(&path("/no"), &Acl::open(), None).await.unwrap_err(), StoreError::NoNode);
    assert_eq!(me.delete(&path("/no"), None).await.unwrap_err(), StoreError::NoNode);
    assert_eq!(me.delete(&path("/no/x"), None).await.unwrap_err(), StoreError::NoNode);
    assert_eq!(me.delete(&path("/d"), None).await.unwrap_err(), StoreError::NotEmpty);
    assert_eq!(me.delete(&path("/d"), Some(7)).await.unwrap_err(), StoreError::BadVersion);
    assert!(matches!(me.delete(&ZnodePath::root(), None).await.unwrap_err(), StoreError::BadArguments(_)));
    for wrong in ["auth::cdrwa", "nobody:x:r", "digest:bob:r", "world:somebody:r"] {
        let creation = Creation { acl: Some(Acl::parse_list(wrong).unwrap()), ..creation("/x", "", Persistent) };
        assert_eq!(me.create(&creation).await.unwrap_err(), StoreError::InvalidAcl, "{wrong}");
    }
    let creation = Creation { acl: Some(Vec::new()), ..creation("/x", "", Persistent) };
    assert_eq!(me.create(&creation).await.unwrap_err(), StoreError::InvalidAcl);
    assert_eq!(me.set_acl(&path("/d"), &[], None).await.unwrap_err(), StoreError::InvalidAcl);
    assert_eq!(me.exists(&path("/x")).await, Err(StoreError::NoNode));
}

pub async fn versions_guard_sets_and_deletes<K: Kind>(world: World<K>) {
    let (me, other) = (&world.me, &world.other);
    me.create(&creation("/a", "0", Persistent)).await.unwrap();
    assert_eq!(me.set(&path("/a"), bytes("1"), Some(0)).await.unwrap().version, 1);
    assert_eq!(other.set(&path("/a"), bytes("x"), Some(0)).await.unwrap_err(), StoreError::BadVersion);
    assert_eq!(other.set(&path("/a"), bytes("2"), Some(1)).await.unwrap().version, 2);
    assert_eq!(me.delete(&path("/a"), Some(1)).await.unwrap_err(), StoreError::BadVersion);
    assert_eq!(me.get(&path("/a")).await.unwrap().0, "2");
    me.delete(&path("/a"), Some(2)).await.unwrap();
}

pub async fn numbers_come_from_the_parent<K: Kind>(world: World<K>) {
    let (me, other) = (&world.me, &world.other);
    me.create(&creation("/q", "", Persistent)).await.unwrap();
    let made = async |store: &K::Store, text, mode| {
        let (path, stat) = store.create(&creation(text, "job", mode)).await.unwrap();
        assert_eq!(store.exists(&path).await.unwrap(), stat);
        path.to_string()
    };
    assert_eq!(made(me, "/q/n-", PersistentSequential).await, "/q/n-0000000000");
    assert_eq!(made(other, "/q/n-", EphemeralSequential).await, "/q/n-0000000001");
    other.delete(&path("/q/n-0000000001"), None).await.unwrap();
    assert_eq!(made(me, "/q/m", EphemeralSequential).await, "/q/m0000000002");
    made(me, "/q/plain", Persistent).await;
    assert_eq!(made(me, "/q/7", PersistentSequential).await, "/q/70000000004");
}

pub async fn ephemerals_name_their_session<K: Kind>(world: World<K>) {
    let (me, other) = (&world.me, &world.other);
    let id = me.session().id;
    assert!(id != NOBODY && id != other.session().id);
    let (_, stat) = me.create(&creation("/e", "", Ephemeral)).await.unwrap();
    assert!(stat.is_ephemeral() && stat.ephemeral_owner == id);
    assert_eq!(other.exists(&path("/e")).await.unwrap(), stat);
    let view = me.session();
    assert_eq!((view.state, view.incarnation, view.live), (SessionState::Connected, 1, true));
    assert!(view.validity > Duration::ZERO && view.validity <= view.timeout);
    other.delete(&path("/e"), None).await.unwrap();
}

pub async fn containers_and_times_to_live<K: Kind>(world: World<K>) {
    let me = &world.me;
    for (text, mode) in [("/c", Container), ("/t", Ttl(Duration::from_secs(3600)))] {
        let (_, stat) = me.create(&creation(text, "x", mode)).await.unwrap();
        assert_eq!((stat.ephemeral_owner, stat.is_ephemeral()), (NOBODY, false), "the server hides its mark");
        me.create(&creation(&format!("{text}/child"), "", Persistent)).await.unwrap();
    }
}

fn check(text: &str, version: Option<i32>) -> Op {
    Op::Check { path: path(text), version }
}

fn set(text: &str, data: &str, version: Option<i32>) -> Op {
    Op::Set { path: path(text), data: bytes(data), version }
}

fn delete(text: &str, version: Option<i32>) -> Op {
    Op::Delete { path: path(text), version }
}

fn create(text: &str, data: &str, mode: CreateMode) -> Op {
    Op::Create(creation(text, data, mode))
}

pub async fn transactions_are_all_or_nothing<K: Kind>(world: World<K>) {
    let me = &world.me;
    me.create(&creation("/a", "a", Persistent)).await.unwrap();
    me.create(&creation("/d", "d", Persistent)).await.unwrap();
    let before = (me.exists(&path("/a")).await, me.exists(&path("/d")).await, me.exists(&path("/")).await);
    world.mine.take();
    let fails = [
        (vec![set("/a", "x", None), check("/d", Some(1))], 1, StoreError::BadVersion),
        (vec![create("/b", "x", Persistent), create("/b", "y", Persistent)], 1, StoreError::NodeExists),
        (vec![create("/d/x", "", Ephemeral), delete("/d", None)], 1, StoreError::NotEmpty),
        (vec![check("/no", None), set("/a", "x", None)], 0, StoreError::NoNode),
        (vec![delete("/a", Some(0)), set("/a", "x", None)], 1, StoreError::NoNode),
        (vec![create("/e", "", Ephemeral), create("/e/x", "", Persistent)], 1, StoreError::NoChildrenForEphemerals),
    ];
    for (ops, index, error) in fails {
        assert_eq!(me.multi(&ops).await.unwrap_err(), MultiError { index: Some(index), error }, "{ops:?}");
    }
    let after = (me.exists(&path("/a")).await, me.exists(&path("/d")).await, me.exists(&path("/")).await);
    assert_eq!(before, after);
    assert_eq!(world.mine.changes(), []);
    assert_eq!(me.multi(&[]).await.unwrap(), []);
}

pub async fn transactions_see_their_own_changes<K: Kind>(world: World<K>) {
    let me = &world.me;
    me.create(&creation("/a", "a", Persistent)).await.unwrap();
    let ops = [
        create("/d", "", Persistent),
        create("/d/n-", "1", PersistentSequential),
        create("/d/n-", "2", EphemeralSequential),
        create("/d/f", "", Ephemeral),
        set("/d/f", "", Some(0)),
        set("/a", "b", Some(0)),
        check("/a", Some(1)),
        create("/d/gone", "", Persistent),
        delete("/d/gone", None),
        delete("/a", Some(1)),
    ];
    let results = me.multi(&ops).await.unwrap();
    let created = |text: &str| OpResult::Created(path(text));
    assert_eq!(results[0..4], ["/d", "/d/n-0000000000", "/d/n-0000000001", "/d/f"].map(created));
    let version = |result: &OpResult| match result {
        OpResult::Set(stat) => stat.version,
        _ => -1,
    };
    assert_eq!((version(&results[4]), version(&results[5])), (1, 1));
    assert_eq!(results[6..], [OpResult::Done, created("/d/gone"), OpResult::Done, OpResult::Done]);
    let stat = me.exists(&path("/d")).await.unwrap();
    assert_eq!((stat.num_children, stat.cversion, stat.pzxid), (3, 5, stat.czxid));
    let file = me.exists(&path("/d/f")).await.unwrap();
    assert_eq!((file.version, file.ephemeral_owner, file.czxid), (1, me.session().id, stat.czxid));
    assert_eq!(me.exists(&path("/a")).await, Err(StoreError::NoNode));
    let changes = world.mine.changes();
    assert_eq!(changes.first().map(|change| change.0.as_str()), Some("/a"));
    let told = |text: &str, change| changes.contains(&(text.to_owned(), change));
    assert!(told("/d/f", Change::Created) && told("/d/f", Change::Modified) && told("/a", Change::Deleted));
}

pub async fn events_come_before_results<K: Kind>(world: World<K>) {
    let (me, other) = (&world.me, &world.other);
    let change = |text: &str, change| (text.to_owned(), change);
    for round in 0..50 {
        let name = format!("/n{round}");
        // My own change, before its result.
        me.create(&creation(&name, "", Persistent)).await.unwrap();
        assert_eq!(world.mine.changes(), [change(&name, Change::Created)]);
        // The other's, before the result of any read of mine that shows it.
        other.set(&path(&name), bytes("x"), None).await.unwrap();
        while me.exists(&path(&name)).await.unwrap().version == 0 {}
        assert_eq!(world.mine.changes(), [change(&name, Change::Modified)]);
        other.delete(&path(&name), None).await.unwrap();
        while me.get(&path(&name)).await.is_ok() {}
        assert_eq!(world.mine.changes(), [change(&name, Change::Deleted)]);
    }
}

pub async fn the_other_session_hears_of_everything_in_order<K: Kind>(world: World<K>) {
    let me = &world.me;
    let mut expected = Vec::new();
    for round in 0..20 {
        let name = format!("/n{round}");
        me.create(&creation(&name, "", Persistent)).await.unwrap();
        me.create(&creation(&format!("{name}/deep"), "", Ephemeral)).await.unwrap();
        me.set(&path(&name), bytes("x"), None).await.unwrap();
        me.delete(&path(&format!("{name}/deep")), None).await.unwrap();
        me.set_acl(&path(&name), &Acl::open(), None).await.unwrap();
        let deep = format!("{name}/deep");
        for (name, change) in
            [(&name, Change::Created), (&deep, Change::Created), (&name, Change::Modified), (&deep, Change::Deleted)]
        {
            expected.push((name.clone(), change));
        }
    }
    // The other asks for nothing at all.
    assert_eq!(world.theirs.until_changes(expected.len()).await, expected);
}

pub async fn many_stats_in_order<K: Kind>(world: World<K>) {
    let me = &world.me;
    let ops: Vec<Op> = (0..700).map(|n| create(&format!("/n{n}"), &"x".repeat(n), Persistent)).collect();
    me.multi(&ops).await.unwrap();
    let mut paths: Vec<ZnodePath> = (0..700).rev().map(|n| path(&format!("/n{n}"))).collect();
    paths.insert(300, path("/no"));
    let peeks = me.peek(&paths).await.unwrap();
    assert_eq!(peeks.len(), 701);
    assert_eq!(peeks[300], Err(StoreError::NoNode));
    for (path, peek) in paths.iter().zip(&peeks).filter(|(path, _)| path.as_str() != "/no") {
        let peek = peek.as_ref().unwrap();
        let size: usize = path.name()[1..].parse().unwrap();
        assert_eq!(usize::try_from(peek.stat.data_length).unwrap(), size, "{path}");
        assert!(peek.data.as_ref().is_none_or(|data| data.len() == size));
    }
    // Large ones come, with or without their data.
    for n in 0..40 {
        me.create(&creation(&format!("/big{n}"), &"x".repeat(200_000 + n), Persistent)).await.unwrap();
    }
    let paths: Vec<ZnodePath> = (0..40).map(|n| path(&format!("/big{n}"))).collect();
    let lengths = me.peek(&paths).await.unwrap().into_iter().map(|peek| peek.unwrap().stat.data_length);
    assert!(lengths.eq(200_000..200_040));
    assert_eq!(me.peek(&[]).await.unwrap(), []);
}

pub async fn access_lists_are_kept_and_enforced<K: Kind>(world: World<K>) {
    let anyone = &world.me;
    let seen = Arc::new(Seen::default());
    let bob = K::session(&world.place, seen, Acl::creator(), Some(BOB)).await;
    bob.create(&creation("/d", "secret", Persistent)).await.unwrap();
    let (acl, stat) = bob.get_acl(&path("/d")).await.unwrap();
    assert_eq!(acl.iter().map(Acl::to_string).collect::<Vec<_>>(), [format!("digest:{}:cdrwa", BOB.id)]);
    assert_eq!(stat.aversion, 0);
    assert_eq!(anyone.get(&path("/d")).await.unwrap_err(), StoreError::NoAuth);
    assert_eq!(anyone.children(&path("/d")).await.unwrap_err(), StoreError::NoAuth);
    assert_eq!(anyone.set(&path("/d"), Bytes::new(), None).await.unwrap_err(), StoreError::NoAuth);
    assert_eq!(anyone.create(&creation("/d/x", "", Persistent)).await.unwrap_err(), StoreError::NoAuth);
    assert_eq!(anyone.set_acl(&path("/d"), &Acl::open(), None).await.unwrap_err(), StoreError::NoAuth);
    assert_eq!(anyone.get_acl(&path("/d")).await.unwrap_err(), StoreError::NoAuth);
    let refused = anyone.multi(&[create("/y", "", Persistent), check("/d", None)]).await.unwrap_err();
    assert_eq!(refused, MultiError { index: Some(1), error: StoreError::NoAuth });
    let peeks = anyone.peek(&[path("/d"), path("/")]).await.unwrap();
    assert!(matches!(&peeks[0], Ok(peek) if peek.data.is_none()) || peeks[0] == Err(StoreError::NoAuth));
    assert!(peeks[1].is_ok());

    let list = Acl::parse_list(&format!("world:anyone:r,digest:{}:cdrwa", BOB.id)).unwrap();
    let stat = bob.set_acl(&path("/d"), &list, Some(0)).await.unwrap();
    assert_eq!((stat.aversion, stat.version), (1, 0));
    assert_eq!(bob.set_acl(&path("/d"), &list, Some(0)).await.unwrap_err(), StoreError::BadVersion);
    assert_eq!(anyone.get(&path("/d")).await.unwrap().0, "secret");
    let shown = anyone.get_acl(&path("/d")).await.unwrap().0;
    assert_eq!(shown[1].to_string(), "digest:bob:x:cdrwa", "no digest for who may not administer it");
    bob.create(&creation("/d/x", "", Persistent)).await.unwrap();
    assert_eq!(anyone.delete(&path("/d/x"), None).await.unwrap_err(), StoreError::NoAuth);
    bob.close().await;
}

pub async fn sizes_are_refused_before_they_are_sent<K: Kind>(world: World<K>) {
    let me = &world.me;
    me.create(&creation("/a", "", Persistent)).await.unwrap();
    let connections = me.session().connections;
    let big = Bytes::from(vec![b'x'; 2 << 20]);
    assert_eq!(me.set(&path("/a"), big.clone(), None).await.unwrap_err(), StoreError::TooLarge);
    let creation = Creation { data: big.clone(), ..creation("/b", "", Persistent) };
    assert_eq!(me.create(&creation).await.unwrap_err(), StoreError::TooLarge);
    let op = Op::Set { path: path("/a"), data: big, version: None };
    assert_eq!(me.multi(&[op]).await.unwrap_err(), MultiError::from(StoreError::TooLarge));
    assert_eq!(me.session().connections, connections);
    assert_eq!(me.exists(&path("/a")).await.unwrap().version, 0);
}

pub async fn the_limit_is_exact<K: Kind>(world: World<K>) {
    let me = &world.me;
    me.create(&creation("/a", "", Persistent)).await.unwrap();
    let limit = me.data_limit(&path("/a"));
    assert!((1_000_000..1_048_575).contains(&limit));
    let stat = me.set(&path("/a"), Bytes::from(vec![b'x'; limit]), None).await.unwrap();
    assert_eq!(usize::try_from(stat.data_length).unwrap(), limit);
    let over = Bytes::from(vec![b'x'; limit + 1]);
    assert_eq!(me.set(&path("/a"), over, None).await.unwrap_err(), StoreError::TooLarge);
    // A transaction filled up to its limit passes, by the generous count and by the exact one.
    let name = path("/a");
    let room = me.multi_limit() - zkmount::session::store::OP_OVERHEAD - name.as_str().len();
    let op = Op::Set { path: name, data: Bytes::from(vec![b'y'; room]), version: None };
    assert!(me.multi(&[op]).await.is_ok());
    assert_eq!(me.session().connections, 1);
}

pub async fn names_of_every_kind<K: Kind>(world: World<K>) {
    let me = &world.me;
    let names = ["a b", "a@e", "é", "漢字", "...", "-rf", "a\u{a0}b", "x=1&y", &"n".repeat(255), &"long".repeat(200)];
    for name in names {
        let at = path("/").join(name).unwrap();
        me.create(&Creation { path: at.clone(), ..creation("/x", "data", Persistent) }).await.unwrap();
        assert_eq!(me.get(&at).await.unwrap().0, "data", "{name}");
    }
    let (mut listed, _) = me.children(&ZnodePath::root()).await.unwrap();
    listed.sort();
    let mut expected = names.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(listed, expected);
    let changed: Vec<String> = world.theirs.until_changes(names.len()).await.into_iter().map(|told| told.0).collect();
    assert_eq!(changed, names.map(|name| format!("/{name}")));
    for bad in ["/a/", "/\u{7}", "/a//b", "/\u{1f600}"] {
        assert!(ZnodePath::parse(bad).is_err());
    }
}

pub async fn what_is_retracted_goes<K: Kind>(world: World<K>) {
    let (me, other) = (&world.me, &world.other);
    let (name, stat) = me.create(&creation("/e", "", Ephemeral)).await.unwrap();
    let (persistent, theirs) = (creation("/p", "", Persistent), creation("/theirs", "", Ephemeral));
    let (persistent, theirs) = (me.create(&persistent).await.unwrap(), other.create(&theirs).await.unwrap());
    world.theirs.until_changes(3).await;
    me.retract(&name, Zxid(stat.czxid.0 - 1));
    me.retract(&persistent.0, persistent.1.czxid);
    me.retract(&theirs.0, theirs.1.czxid);
    me.retract(&name, stat.czxid);
    assert_eq!(world.theirs.until_changes(1).await, [("/e".to_owned(), Change::Deleted)]);
    for left in [persistent.0, theirs.0] {
        assert!(me.exists(&left).await.is_ok(), "{left}");
    }
}

pub async fn close_takes_the_ephemerals_along<K: Kind>(world: World<K>) {
    let (me, other) = (&world.me, &world.other);
    me.create(&creation("/e", "", Ephemeral)).await.unwrap();
    me.create(&creation("/n-", "", EphemeralSequential)).await.unwrap();
    me.create(&creation("/p", "", Persistent)).await.unwrap();
    world.theirs.until_changes(3).await;
    me.close().await;
    // Closing waits for the server, so they are gone now.
    other.sync(&ZnodePath::root()).await.unwrap();
    assert_eq!(other.children(&ZnodePath::root()).await.unwrap().0, ["p"]);
    let mut gone = world.theirs.until_changes(2).await;
    gone.sort_by(|a, b| a.0.cmp(&b.0));
    let deleted = |text: &str| (text.to_owned(), Change::Deleted);
    assert_eq!(gone, [deleted("/e"), deleted("/n-0000000001")]);
}

pub async fn a_closed_store_says_so<K: Kind>(world: World<K>) {
    let me = &world.me;
    me.close().await;
    me.close().await;
    assert_eq!(me.session().state, SessionState::Closed);
    assert_eq!(me.session().validity, Duration::ZERO);
    assert_eq!(me.exists(&path("/a")).await.unwrap_err(), StoreError::Closed);
    assert_eq!(me.create(&creation("/a", "", Ephemeral)).await.unwrap_err(), StoreError::Closed);
    assert_eq!(me.peek(&[path("/a")]).await.unwrap_err(), StoreError::Closed);
    let told = world.mine.take();
    assert_eq!(told, [Event::Blind, Event::Session(StateChange::Closed)]);
}
