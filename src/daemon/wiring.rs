//! From the settings of the command to those of the layers below.

use super::failure::Failure;
use crate::config::{Config, Credentials, Ensemble};
use crate::fs::{MountSettings, Options};
use crate::session::memory::MemorySettings;
use crate::session::zookeeper::{ConnectError, ConnectString, Settings};

/// What a tree in memory is told.
pub(super) fn memory(config: &Config) -> MemorySettings {
    MemorySettings {
        acl: config.acl.clone(),
        operation_timeout: config.timeout,
        session_timeout: config.session_timeout,
        ..MemorySettings::default()
    }
}

/// What the ensemble is asked for.
pub(super) fn zookeeper(config: &Config, connect: &ConnectString) -> Settings {
    let auth = config.credentials.iter().map(|who| ("digest".to_owned(), who.digest()));
    Settings {
        chroot: connect.chroot.clone(),
        session_timeout: config.session_timeout,
        operation_timeout: config.timeout,
        acl: config.acl.clone(),
        create_chroot: config.create_chroot,
        auth: auth.collect(),
        sasl: config.sasl.as_ref().map(Credentials::pair),
        tls: config.tls.clone(),
        on_lost: config.on_lost,
        ..Settings::new(connect.servers())
    }
}

/// Says why there is no session, and what to do about it.
pub(super) fn not_connected(config: &Config, error: &ConnectError) -> Failure {
    let what_to_do = match error {
        ConnectError::Servers(_) => "ENSEMBLE is host[:port],...[/chroot]",
        ConnectError::UnknownHost(_) => "check its spelling and the name service",
        ConnectError::Refused(_) => "check the port, and whether ZooKeeper runs there",
        ConnectError::NoAnswer { .. } => "check the network, or give it more time with --timeout",
        ConnectError::NotServing { .. } if config.tls.is_some() => {
            "check its TLS port, its certificate (tls_ca, and the name) and whether it wants one of ours (tls_cert)"
        }
        ConnectError::NotServing { .. } if config.sasl.is_some() => "check the file of sasl=FILE, or look at its log",
        ConnectError::NotServing { .. } => "look at its log, or try again; for a port with TLS there is tls_ca=FILE",
        ConnectError::NoChroot(_) if config.read_only => "mount another znode, or make this one first",
        ConnectError::NoChroot(_) => "--create-chroot makes it",
        ConnectError::Chroot(..) => "check its ACL and your credentials",
        ConnectError::AuthFailed if config.sasl.is_some() => "check the file of sasl=FILE",
        ConnectError::AuthFailed => "check the file of credentials=FILE",
        ConnectError::Other(_) => "",
    };
    let separator = if what_to_do.is_empty() { "" } else { "; " };
    Failure::mount(format!("{}: {error}{separator}{what_to_do}", config.ensemble))
}

/// What the file system is told.
pub(super) fn options(config: &Config) -> Options {
    Options {
        names: config.names,
        read_only: config.read_only || is_system(&config.ensemble),
        strict: config.strict,
        fmask: config.fmask,
        dmask: config.dmask,
        uid: config.uid,
        gid: config.gid,
        commit: config.commit,
        scratch: config.scratch.clone(),
        timeout: config.timeout,
        guard_system: shows_system(&config.ensemble),
    }
}

/// Tells whether ZooKeeper's own znodes are in the mounted tree.
fn shows_system(ensemble: &Ensemble) -> bool {
    match ensemble {
        Ensemble::Memory => true,
        Ensemble::ZooKeeper(connect) => connect.chroot.is_none(),
    }
}

/// The znodes of ZooKeeper itself, which a mount does not change.
const SYSTEM: &str = "/zookeeper";

/// Tells whether all of the mounted tree is ZooKeeper's own.
fn is_system(ensemble: &Ensemble) -> bool {
    let chroot = match ensemble {
        Ensemble::ZooKeeper(connect) => connect.chroot.as_ref(),
        Ensemble::Memory => None,
    };
    let below = chroot.and_then(|chroot| chroot.as_str().strip_prefix(SYSTEM));
    below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// What the kernel is told.
pub(super) fn mount_settings(config: &Config) -> MountSettings {
    let source = config.ensemble.to_string();
    MountSettings {
        // fusermount3 takes the source in a list of options; mount(2), which root uses, takes it as it is.
        source: if may_mount() { source } else { source.replace('\\', "\\\\").replace(',', "\\,") },
        allow_other: config.allow_other,
        allow_root: config.allow_root,
        kernel: if config.default_permissions { vec!["default_permissions".to_owned()] } else { Vec::new() },
    }
}

/// Tells whether this process may call mount(2).
fn may_mount() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    effective & (1 << CAP_SYS_ADMIN) != 0
}

/// The number of the capability, from linux/capability.h.
const CAP_SYS_ADMIN: u32 = 21;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_ensembles_own_tree() {
        for (text, system, shown) in [
            ("memory:", false, true),
            ("zk1", false, true),
            ("zk1/app", false, false),
            ("zk1/zookeepers", false, false),
            ("zk1/zookeeper", true, false),
            ("zk1/zookeeper/quota", true, false),
        ] {
            let ensemble = Ensemble::parse(text, Path::new("/")).unwrap();
            assert_eq!((is_system(&ensemble), shows_system(&ensemble)), (system, shown), "{text}");
        }
    }
}
