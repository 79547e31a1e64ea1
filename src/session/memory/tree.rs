//! The tree itself: what a ZooKeeper server does with one request, and nothing about sessions or time.
//!
//! A request is applied to the tree at once and leaves an undo log, so that a transaction that fails half way can be
//! taken back. The order of the checks is the server's, since it decides which of two errors a client sees.

use std::collections::HashMap;

use bytes::Bytes;

use super::access::{self, Identity, Need};
use super::node::{Node, Record, TTL_MAX, owner};
use crate::mapping::{Acl, SessionId, Stat, ZnodePath, Zxid};
use crate::session::{Change, CreateMode, Creation, MultiError, Op, OpResult, Peek, StoreError};

/// Who asks, and when.
#[derive(Debug, Clone, Copy)]
pub struct Caller<'a> {
    pub session: SessionId,
    pub identities: &'a [Identity],
    /// Milliseconds since the epoch.
    pub now: i64,
}

/// A change that watchers are told.
pub type Told = (ZnodePath, Change, Zxid);

/// The znodes.
#[derive(Debug)]
pub struct Tree {
    nodes: HashMap<ZnodePath, Node>,
    zxid: Zxid,
}

enum Undo {
    Created(ZnodePath),
    Deleted(ZnodePath, Node),
    Changed(ZnodePath, Record),
}

/// A write under way.
struct Write<'a> {
    tree: &'a mut Tree,
    undo: Vec<Undo>,
    told: Vec<Told>,
    zxid: Zxid,
}

impl Tree {
    /// A tree with a root that everybody may change.
    pub fn new(now: i64) -> Tree {
        let root = Node::new(Bytes::new(), Acl::open(), 0, Zxid(0), now);
        Tree { nodes: HashMap::from([(ZnodePath::root(), root)]), zxid: Zxid(0) }
    }

    /// Counts a transaction that changes no znode, such as the start of a session.
    pub fn tick(&mut self) -> Zxid {
        self.zxid = Zxid(self.zxid.0 + 1);
        self.zxid
    }

    fn node(&self, path: &ZnodePath) -> Result<&Node, StoreError> {
        self.nodes.get(path).ok_or(StoreError::NoNode)
    }

    fn readable(&self, path: &ZnodePath, caller: Caller<'_>) -> Result<&Node, StoreError> {
        let node = self.node(path)?;
        access::check(&node.record.acl, Need::READ, caller.identities)?;
        Ok(node)
    }

    /// Needs no permission.
    pub fn exists(&self, path: &ZnodePath) -> Result<Stat, StoreError> {
        self.node(path).map(Node::stat)
    }

    pub fn get(&self, path: &ZnodePath, caller: Caller<'_>) -> Result<(Bytes, Stat), StoreError> {
        self.readable(path, caller).map(|node| (node.record.data.clone(), node.stat()))
    }

    pub fn children(&self, path: &ZnodePath, caller: Caller<'_>) -> Result<(Vec<String>, Stat), StoreError> {
        self.readable(path, caller).map(|node| (node.children.iter().cloned().collect(), node.stat()))
    }

    pub fn peek(&self, path: &ZnodePath, caller: Caller<'_>) -> Result<Peek, StoreError> {
        let node = self.node(path)?;
        let readable = access::is_granted(&node.record.acl, Need::READ, caller.identities);
        Ok(Peek { stat: node.stat(), data: readable.then(|| node.record.data.clone()) })
    }

    pub fn get_acl(&self, path: &ZnodePath, caller: Caller<'_>) -> Result<(Vec<Acl>, Stat), StoreError> {
        let node = self.node(path)?;
        access::check(&node.record.acl, Need::READ_OR_ADMIN, caller.identities)?;
        Ok((access::shown(&node.record.acl, caller.identities), node.stat()))
    }

    /// Applies one write: what it gives and what watchers are told, or the tree as it was.
    fn write<T, E>(&mut self, apply: impl FnOnce(&mut Write<'_>) -> Result<T, E>) -> Result<(T, Vec<Told>), E> {
        let zxid = self.tick();
        let mut write = Write { tree: self, undo: Vec::new(), told: Vec::new(), zxid };
        match apply(&mut write) {
            Ok(result) => Ok((result, write.told)),
            Err(error) => {
                write.take_back();
                Err(error)
            }
        }
    }

    pub fn create(
        &mut self,
        creation: &Creation,
        acl: &[Acl],
        caller: Caller<'_>,
    ) -> Result<((ZnodePath, Stat), Vec<Told>), StoreError> {
        self.write(|write| write.create(creation, acl, caller))
    }

    pub fn set(
        &mut self,
        path: &ZnodePath,
        data: Bytes,
        version: Option<i32>,
        caller: Caller<'_>,
    ) -> Result<(Stat, Vec<Told>), StoreError> {
        self.write(|write| write.set(path, data, version, caller))
    }

    pub fn delete(
        &mut self,
        path: &ZnodePath,
        version: Option<i32>,
        caller: Caller<'_>,
    ) -> Result<((), Vec<Told>), StoreError> {
        self.write(|write| write.delete(path, version, caller))
    }

    pub fn set_acl(
        &mut self,
        path: &ZnodePath,
        acl: &[Acl],
        version: Option<i32>,
        caller: Caller<'_>,
    ) -> Result<(Stat, Vec<Told>), StoreError> {
        self.write(|write| write.set_acl(path, acl, version, caller))
    }

    pub fn multi(
        &mut self,
        ops: &[Op],
        default_acl: &[Acl],
        caller: Caller<'_>,
    ) -> Result<(Vec<OpResult>, Vec<Told>), MultiError> {
        self.write(|write| {
            let apply = |(index, op)| {
                let result = write.apply(op, default_acl, caller);
                result.map_err(|error| MultiError { index: Some(index), error })
            };
            ops.iter().enumerate().map(apply).collect()
        })
    }

    /// Removes an ephemeral of a session, if it is the one that this transaction created.
    pub fn retract(&mut self, path: &ZnodePath, czxid: Zxid, session: SessionId) -> Vec<Told> {
        let is_it = |node: &Node| node.record.owner == session.0 && node.record.czxid == czxid;
        if self.nodes.get(path).is_some_and(is_it) { self.remove(std::slice::from_ref(path)) } else { Vec::new() }
    }

    /// Removes what lives as long as a session, in one transaction.
    pub fn end_session(&mut self, session: SessionId) -> Vec<Told> {
        let mut paths: Vec<ZnodePath> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.record.owner == session.0)
            .map(|(path, _)| path.clone())
            .collect();
        paths.sort();
        self.remove(&paths)
    }

    /// Removes containers and znodes with a time to live whose time is over.
    pub fn reap(&mut self, now: i64) -> Vec<Told> {
        let mut paths: Vec<ZnodePath> =
            self.nodes.iter().filter(|(_, node)| node.is_expired(now)).map(|(path, _)| path.clone()).collect();
        paths.sort();
        self.remove(&paths)
    }

    /// What lives as long as a session, each with the transaction that created it.
    pub fn ephemerals(&self, session: SessionId) -> Vec<(ZnodePath, Zxid)> {
        let owned = self.nodes.iter().filter(|(_, node)| node.record.owner == session.0);
        owned.map(|(path, node)| (path.clone(), node.record.czxid)).collect()
    }

    fn remove(&mut self, paths: &[ZnodePath]) -> Vec<Told> {
        if paths.is_empty() {
            return Vec::new();
        }
        let removed = self.write(|write| {
            paths.iter().for_each(|path| write.remove(path));
            Ok::<(), StoreError>(())
        });
        removed.map(|((), told)| told).unwrap_or_default()
    }
}

impl Write<'_> {
    fn apply(&mut self, op: &Op, default_acl: &[Acl], caller: Caller<'_>) -> Result<OpResult, StoreError> {
        match op {
            Op::Check { path, version } => {
                let node = self.tree.readable(path, caller)?;
                expect(node.record.version, *version)?;
                Ok(OpResult::Done)
            }
            Op::Create(creation) => {
                let acl = creation.acl.as_deref().unwrap_or(default_acl);
                self.create(creation, acl, caller).map(|(path, _)| OpResult::Created(path))
            }
            Op::Set { path, data, version } => self.set(path, data.clone(), *version, caller).map(OpResult::Set),
            Op::Delete { path, version } => self.delete(path, *version, caller).map(|()| OpResult::Done),
        }
    }

    fn create(
        &mut self,
        creation: &Creation,
        acl: &[Acl],
        caller: Caller<'_>,
    ) -> Result<(ZnodePath, Stat), StoreError> {
        if let CreateMode::Ttl(ttl) = creation.mode
            && !(1..=TTL_MAX).contains(&ttl.as_millis())
        {
            return Err(StoreError::BadArguments("the time to live is out of range".to_owned()));
        }
        let parent_path = parent(&creation.path)?;
        let acl = access::fix(acl, caller.identities)?;
        let parent = self.tree.node(&parent_path)?;
        access::check(&parent.record.acl, Need::CREATE, caller.identities)?;
        let path = if creation.mode.is_sequential() {
            let name = format!("{}{:010}", creation.path.name(), parent.record.created);
            parent_path.join(&name).map_err(|error| StoreError::BadArguments(error.to_string()))?
        } else {
            creation.path.clone()
        };
        if self.tree.nodes.contains_key(&path) {
            return Err(StoreError::NodeExists);
        }
        if parent.stat().is_ephemeral() {
            return Err(StoreError::NoChildrenForEphemerals);
        }
        let node = Node::new(creation.data.clone(), acl, owner(creation.mode, caller.session), self.zxid, caller.now);
        let stat = node.stat();
        let zxid = self.zxid;
        self.change(&parent_path, |record| {
            record.created = record.created.wrapping_add(1);
            record.pzxid = zxid;
        });
        if let Some(parent) = self.tree.nodes.get_mut(&parent_path) {
            parent.children.insert(path.name().to_owned());
        }
        self.tree.nodes.insert(path.clone(), node);
        self.undo.push(Undo::Created(path.clone()));
        self.told.push((path.clone(), Change::Created, zxid));
        Ok((path, stat))
    }

    fn set(
        &mut self,
        path: &ZnodePath,
        data: Bytes,
        version: Option<i32>,
        caller: Caller<'_>,
    ) -> Result<Stat, StoreError> {
        let node = self.tree.node(path)?;
        access::check(&node.record.acl, Need::WRITE, caller.identities)?;
        expect(node.record.version, version)?;
        let zxid = self.zxid;
        self.change(path, |record| {
            record.data = data;
            record.version = record.version.wrapping_add(1);
            record.mzxid = zxid;
            record.mtime = caller.now;
        });
        self.told.push((path.clone(), Change::Modified, zxid));
        self.tree.exists(path)
    }

    fn delete(&mut self, path: &ZnodePath, version: Option<i32>, caller: Caller<'_>) -> Result<(), StoreError> {
        let parent = self.tree.node(&parent(path)?)?;
        access::check(&parent.record.acl, Need::DELETE, caller.identities)?;
        let node = self.tree.node(path)?;
        expect(node.record.version, version)?;
        if !node.children.is_empty() {
            return Err(StoreError::NotEmpty);
        }
        self.remove(path);
        Ok(())
    }

    fn set_acl(
        &mut self,
        path: &ZnodePath,
        acl: &[Acl],
        version: Option<i32>,
        caller: Caller<'_>,
    ) -> Result<Stat, StoreError> {
        let acl = access::fix(acl, caller.identities)?;
        let node = self.tree.node(path)?;
        access::check(&node.record.acl, Need::ADMIN, caller.identities)?;
        expect(node.record.aversion, version)?;
        self.change(path, |record| {
            record.acl = acl;
            record.aversion = record.aversion.wrapping_add(1);
        });
        self.tree.exists(path)
    }

    /// Removes a znode that is there and has no children.
    fn remove(&mut self, path: &ZnodePath) {
        let Some(node) = self.tree.nodes.remove(path) else { return };
        let zxid = self.zxid;
        if let Some(parent) = path.parent() {
            self.change(&parent, |record| record.pzxid = record.pzxid.max(zxid));
            if let Some(parent) = self.tree.nodes.get_mut(&parent) {
                parent.children.remove(path.name());
            }
        }
        self.undo.push(Undo::Deleted(path.clone(), node));
        self.told.push((path.clone(), Change::Deleted, zxid));
    }

    fn change(&mut self, path: &ZnodePath, change: impl FnOnce(&mut Record)) {
        if let Some(node) = self.tree.nodes.get_mut(path) {
            self.undo.push(Undo::Changed(path.clone(), node.record.clone()));
            change(&mut node.record);
        }
    }

    fn take_back(self) {
        let nodes = &mut self.tree.nodes;
        for undo in self.undo.into_iter().rev() {
            match undo {
                Undo::Created(path) => {
                    nodes.remove(&path);
                    if let Some(parent) = path.parent().and_then(|parent| nodes.get_mut(&parent)) {
                        parent.children.remove(path.name());
                    }
                }
                Undo::Deleted(path, node) => {
                    if let Some(parent) = path.parent().and_then(|parent| nodes.get_mut(&parent)) {
                        parent.children.insert(path.name().to_owned());
                    }
                    nodes.insert(path, node);
                }
                Undo::Changed(path, record) => {
                    if let Some(node) = nodes.get_mut(&path) {
                        node.record = record;
                    }
                }
            }
        }
    }
}

fn parent(path: &ZnodePath) -> Result<ZnodePath, StoreError> {
    path.parent().ok_or_else(|| StoreError::BadArguments("the root can be neither created nor deleted".to_owned()))
}

fn expect(current: i32, expected: Option<i32>) -> Result<(), StoreError> {
    match expected {
        // A client cannot ask for version -1: it stands for any version on the wire.
        Some(expected) if expected != -1 && expected != current => Err(StoreError::BadVersion),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLER: Caller<'static> = Caller { session: SessionId(7), identities: &[], now: 1000 };

    fn path(text: &str) -> ZnodePath {
        ZnodePath::parse(text).unwrap()
    }

    fn creation(text: &str, mode: CreateMode) -> Creation {
        Creation { path: path(text), data: Bytes::from_static(b"x"), mode, acl: None }
    }

    fn create(tree: &mut Tree, text: &str, mode: CreateMode) -> Result<ZnodePath, StoreError> {
        tree.create(&creation(text, mode), &Acl::open(), CALLER).map(|((path, _), _)| path)
    }

    #[test]
    fn numbers_count_creations_and_never_go_back() {
        let mut tree = Tree::new(0);
        create(&mut tree, "/q", CreateMode::Persistent).unwrap();
        let first = create(&mut tree, "/q/n-", CreateMode::PersistentSequential).unwrap();
        assert_eq!(first.as_str(), "/q/n-0000000000");
        tree.delete(&first, None, CALLER).unwrap();
        assert_eq!(create(&mut tree, "/q/m", CreateMode::EphemeralSequential).unwrap().as_str(), "/q/m0000000001");
        let stat = tree.exists(&path("/q")).unwrap();
        assert_eq!((stat.cversion, stat.num_children, stat.version), (3, 1, 0));
    }

    #[test]
    fn a_failed_transaction_changes_nothing() {
        let mut tree = Tree::new(0);
        create(&mut tree, "/d", CreateMode::Persistent).unwrap();
        create(&mut tree, "/d/a", CreateMode::Persistent).unwrap();
        let before = (tree.exists(&path("/d")), tree.exists(&path("/d/a")), tree.exists(&ZnodePath::root()));
        let ops = [
            Op::Set { path: path("/d/a"), data: Bytes::from_static(b"y"), version: Some(0) },
            Op::Create(creation("/d/b", CreateMode::Persistent)),
            Op::Delete { path: path("/d/a"), version: Some(1) },
            Op::Create(creation("/d/a", CreateMode::Ephemeral)),
            Op::Delete { path: path("/d"), version: None },
        ];
        let error = tree.multi(&ops, &Acl::open(), CALLER).unwrap_err();
        assert_eq!(error, MultiError { index: Some(4), error: StoreError::NotEmpty });
        let after = (tree.exists(&path("/d")), tree.exists(&path("/d/a")), tree.exists(&ZnodePath::root()));
        assert_eq!(before, after);
        assert_eq!(tree.children(&path("/d"), CALLER).unwrap().0, ["a"]);
        assert_eq!(tree.get(&path("/d/a"), CALLER).unwrap().0, "x");

        let (results, told) = tree.multi(&ops[..4], &Acl::open(), CALLER).unwrap();
        assert_eq!(results[3], OpResult::Created(path("/d/a")));
        let zxid = tree.exists(&path("/d/b")).unwrap().czxid;
        let changes = [Change::Modified, Change::Created, Change::Deleted, Change::Created];
        assert_eq!(told.iter().map(|told| told.1).collect::<Vec<_>>(), changes);
        assert!(told.iter().all(|told| told.2 == zxid), "one transaction, one zxid");
    }

    #[test]
    fn the_server_removes_by_itself() {
        let mut tree = Tree::new(0);
        create(&mut tree, "/c", CreateMode::Container).unwrap();
        create(&mut tree, "/t", CreateMode::Ttl(std::time::Duration::from_millis(500))).unwrap();
        assert_eq!(tree.reap(1499), [], "a container that never had a child stays");
        create(&mut tree, "/c/x", CreateMode::Ephemeral).unwrap();
        assert_eq!(tree.reap(1500).iter().map(|told| told.0.as_str()).collect::<Vec<_>>(), ["/t"]);
        assert_eq!(tree.end_session(SessionId(7)).iter().map(|told| told.0.as_str()).collect::<Vec<_>>(), ["/c/x"]);
        assert_eq!(tree.reap(1500).iter().map(|told| told.0.as_str()).collect::<Vec<_>>(), ["/c"]);
    }

    #[test]
    fn the_order_of_errors_is_the_servers() {
        let mut tree = Tree::new(0);
        create(&mut tree, "/e", CreateMode::Ephemeral).unwrap();
        create(&mut tree, "/d", CreateMode::Persistent).unwrap();
        create(&mut tree, "/d/x", CreateMode::Persistent).unwrap();
        assert_eq!(create(&mut tree, "/e/x", CreateMode::Persistent), Err(StoreError::NoChildrenForEphemerals));
        assert_eq!(create(&mut tree, "/no/x", CreateMode::Persistent), Err(StoreError::NoNode));
        assert_eq!(create(&mut tree, "/d", CreateMode::Persistent), Err(StoreError::NodeExists));
        assert_eq!(tree.delete(&path("/d"), Some(3), CALLER).unwrap_err(), StoreError::BadVersion);
        assert_eq!(tree.delete(&path("/d"), None, CALLER).unwrap_err(), StoreError::NotEmpty);
        assert!(matches!(tree.delete(&ZnodePath::root(), None, CALLER), Err(StoreError::BadArguments(_))));
        let invalid = creation("/no/x", CreateMode::Persistent);
        assert_eq!(tree.create(&invalid, &[], CALLER).unwrap_err(), StoreError::InvalidAcl);
    }
}
