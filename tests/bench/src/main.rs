//! How fast the mount is, and how much memory it takes, each figure beside a peer's in the same run: what matters is the ratio.
//!
//! Nothing here passes or fails. `scripts/bench` builds and runs it; each subject is a file.

mod clock;
mod cold;
mod elsewhere;
mod empty;
mod hot;
mod latency;
mod lock;
mod report;
mod walk;

use std::process::ExitCode;

type Subject = (&'static str, &'static str, fn());

const SUBJECTS: [Subject; 6] = [
    ("cold", "reading files for the first time, beside the raw client", cold::run),
    ("elsewhere", "changes where nobody looks, beside a raw watch", elsewhere::run),
    ("hot", "what the cache answers, beside an empty FUSE file system and tmpfs", hot::run),
    ("latency", "from a remote set to those who wait for it, beside a raw watch and kazoo's DataWatch", latency::run),
    ("lock", "taking locks and handing them over, beside kazoo's Lock", lock::run),
    ("walk", "listing and walking large trees, beside the raw client", walk::run),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == empty::ARGUMENT) {
        let mountpoint = arguments.next().expect("a mount point");
        empty::serve(mountpoint.as_ref());
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| SUBJECTS.iter().all(|(known, ..)| known != name)) {
        eprintln!("bench: no subject {unknown}; there are:");
        SUBJECTS.iter().for_each(|(name, about, _)| eprintln!("  {name:<10} {about}"));
        return ExitCode::from(1);
    }
    for (name, about, run) in SUBJECTS {
        if wanted.is_empty() || wanted.iter().any(|want| want == name) {
            println!("\n## {name}: {about}\n");
            run();
        }
    }
    ExitCode::SUCCESS
}
