//! The first connection, and what is wrong when there is none.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rig::{Mode, Proxy, Witness, shared_server};
use zkmount::mapping::Acl;
use zkmount::session::zookeeper::{ConnectError, ConnectString, Settings, ZooKeeper};
use zkmount::session::{CreateMode, Store};

use crate::world::{creation, path};

fn connect(settings: Settings) -> Result<ZooKeeper, ConnectError> {
    runtime().block_on(ZooKeeper::connect(settings, Arc::new(())))
}

/// One for all of these tests: it must outlive the stores.
fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().unwrap())
}

fn wrong(settings: Settings) -> ConnectError {
    connect(settings).err().expect("there is nothing to connect to")
}

#[test]
fn an_unknown_host() {
    let error = wrong(Settings::new("no-such-host.invalid:2181"));
    assert_eq!(error, ConnectError::UnknownHost("no-such-host.invalid".to_owned()));
}

#[test]
fn nothing_listens() {
    let port = rig::Port::claim();
    let error = wrong(Settings::new(format!("127.0.0.1:{}", port.number())));
    assert_eq!(error.to_string(), format!("nothing listens at 127.0.0.1:{}", port.number()));
}

#[test]
fn a_server_that_says_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings::new(listener.local_addr().unwrap().to_string());
    let began = Instant::now();
    let error = wrong(Settings { operation_timeout: Duration::from_secs(2), ..settings });
    assert!(matches!(error, ConnectError::NotServing { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn no_list_of_servers() {
    assert!(matches!(wrong(Settings::new("")), ConnectError::Servers(_)));
}

#[test]
fn one_server_of_three_is_enough() {
    let dead = rig::Port::claim();
    let servers = format!("no-such-host.invalid,127.0.0.1:{},{}", dead.number(), shared_server().address());
    for _ in 0..5 {
        let store = connect(Settings::new(&servers)).unwrap();
        runtime().block_on(store.close());
    }
}

#[test]
fn a_chroot_that_does_not_exist() {
    let server = shared_server();
    let place = ConnectString::parse(&server.chroot("connecting")).unwrap();
    let chroot = place.chroot.unwrap();
    let deep = path(&format!("{chroot}/a/b"));
    let settings = Settings { chroot: Some(deep.clone()), ..Settings::new(server.address()) };
    let sessions = server.sessions().len();
    assert_eq!(wrong(settings.clone()), ConnectError::NoChroot(deep.clone()));
    assert!(server.sessions().len() <= sessions + 20, "its session is closed");
    let witness = Witness::connect(&server.address());
    assert!(!witness.exists(&format!("{chroot}/a")));

    let store = connect(Settings { create_chroot: true, ..settings.clone() }).unwrap();
    assert!(witness.exists(deep.as_str()));
    runtime().block_on(async {
        store.create(&creation("/x", CreateMode::Persistent)).await.unwrap();
        store.close().await;
    });
    assert!(witness.exists(&format!("{deep}/x")));
    // It is there now.
    let store = connect(settings).unwrap();
    runtime().block_on(store.close());
}

#[test]
fn a_chroot_that_may_not_be_looked_at() {
    let server = shared_server();
    let witness = Witness::options(&server.address()).auth("digest", "bob:pw").connect();
    let place = ConnectString::parse(&server.chroot("connecting")).unwrap().chroot.unwrap();
    let closed = format!("{place}/closed");
    let acl = [rig::Acl::new(rig::Permission::ALL, rig::AuthId::new("auth", ""))];
    witness.create(&closed, b"", Mode::Persistent).unwrap();
    witness.set_acl(&closed, &acl).unwrap();
    let settings = Settings { chroot: Some(path(&closed)), ..Settings::new(server.address()) };
    let store = connect(settings.clone()).unwrap();
    let refused = runtime().block_on(store.children(&path("/"))).unwrap_err();
    assert_eq!(refused, zkmount::session::StoreError::NoAuth);
    runtime().block_on(store.close());
    let auth = vec![("digest".to_owned(), b"bob:pw".to_vec())];
    let store = connect(Settings { auth, acl: Acl::creator(), ..settings }).unwrap();
    runtime().block_on(async {
        store.create(&creation("/x", CreateMode::Persistent)).await.unwrap();
        store.close().await;
    });
}

#[test]
fn credentials_are_given_again_after_an_interruption() {
    let server = shared_server();
    let proxy = Proxy::to(server);
    let place = ConnectString::parse(&proxy.instead_of(&server.chroot("connecting"))).unwrap();
    let auth = vec![("digest".to_owned(), b"bob:pw".to_vec())];
    let settings = Settings {
        chroot: place.chroot.clone(),
        auth,
        acl: Acl::creator(),
        operation_timeout: Duration::from_secs(30),
        ..Settings::new(place.servers())
    };
    let store = connect(settings).unwrap();
    runtime().block_on(store.create(&creation("/x", CreateMode::Persistent))).unwrap();
    proxy.cut();
    rig::until("it is connected again", || store.session().connections == 2);
    runtime().block_on(store.get(&path("/x"))).unwrap();
    proxy.expire_sessions();
    rig::until("it has a new session", || store.session().incarnation == 2);
    runtime().block_on(store.get(&path("/x"))).unwrap();
    runtime().block_on(store.close());
}

#[test]
fn credentials_that_are_refused() {
    let auth = vec![("no-such-scheme".to_owned(), b"bob:pw".to_vec())];
    let settings = Settings { auth, ..Settings::new(shared_server().address()) };
    assert_eq!(wrong(settings), ConnectError::AuthFailed);
}

#[test]
fn a_server_without_extended_types_refuses_a_time_to_live() {
    let server = rig::Server::options().java("-Dzookeeper.extendedTypesEnabled=false").boot();
    let store = connect(Settings::new(server.address())).unwrap();
    let ttl = creation("/t", CreateMode::Ttl(Duration::from_secs(60)));
    let refused = runtime().block_on(store.create(&ttl)).unwrap_err();
    assert!(refused.to_string().contains("extendedTypesEnabled"), "{refused}");
    let refused = runtime().block_on(store.multi(&[zkmount::session::Op::Create(ttl)])).unwrap_err();
    assert!(refused.to_string().contains("extendedTypesEnabled"), "{refused}");
    runtime().block_on(store.close());
}
