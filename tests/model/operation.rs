use rig::Random;

/// What a program, or another client, does to the tree.
#[derive(Clone, Debug)]
pub enum Operation {
    /// `printf TEXT > AT`.
    Write(String, String),
    /// `printf TEXT >> AT`.
    Append(String, String),
    /// An exclusive create.
    Create(String),
    /// truncate(2).
    Resize(String, usize),
    Mkdir(String),
    Rmdir(String),
    Unlink(String),
    Rename(String, String, Mode),
    Link(String, String),
    /// Another client makes a znode.
    ForeignCreate(String, String),
    /// It sets one.
    ForeignSet(String, String),
    /// It deletes one.
    ForeignDelete(String),
}

/// The flags of a rename.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Replace,
    NoReplace,
    Exchange,
}

impl Operation {
    pub fn draw(random: &mut Random, foreign: bool) -> Operation {
        // Few names, so that they meet.
        let path = |random: &mut Random| {
            let depth = 1 + random.below(3);
            let names: Vec<&str> = (0..depth).map(|_| ["a", "b", "c"][random.below(3)]).collect();
            names.join("/")
        };
        let at = path(random);
        let text = "x".repeat(random.below(4)) + if random.below(2) == 0 { "" } else { "y" };
        match random.below(if foreign { 15 } else { 12 }) {
            0 | 1 => Operation::Write(at, text),
            2 => Operation::Append(at, text + "+"),
            3 => Operation::Create(at),
            4 => Operation::Resize(at, random.below(6)),
            5 | 6 => Operation::Mkdir(at),
            7 => Operation::Rmdir(at),
            8 => Operation::Unlink(at),
            9 | 10 => {
                let mode = [Mode::Replace, Mode::Replace, Mode::NoReplace, Mode::Exchange][random.below(4)];
                Operation::Rename(at, path(random), mode)
            }
            11 => Operation::Link(at, path(random)),
            12 => Operation::ForeignCreate(at, text),
            13 => Operation::ForeignSet(at, text),
            _ => Operation::ForeignDelete(at),
        }
    }
}
