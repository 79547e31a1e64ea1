//! As much of ZooKeeper's wire and log format as the rig reads. Written from the protocol's definition (zookeeper.jute),
//! apart from the client library, whose mistakes it must not share.

/// What a request, or a transaction of the server's log, asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Op {
    Connect,
    Create,
    Create2,
    CreateContainer,
    CreateTtl,
    Delete,
    DeleteContainer,
    Exists,
    GetData,
    SetData,
    GetAcl,
    SetAcl,
    GetChildren,
    GetChildren2,
    Sync,
    Ping,
    Check,
    Multi,
    MultiRead,
    Auth,
    AddWatch,
    SetWatches,
    GetEphemerals,
    CreateSession,
    CloseSession,
    Error,
    Other(i32),
}

impl Op {
    /// The operation of a number of the protocol.
    pub(crate) fn from_code(code: i32) -> Op {
        match code {
            1 => Op::Create,
            2 => Op::Delete,
            3 => Op::Exists,
            4 => Op::GetData,
            5 => Op::SetData,
            6 => Op::GetAcl,
            7 => Op::SetAcl,
            8 => Op::GetChildren,
            9 => Op::Sync,
            11 => Op::Ping,
            12 => Op::GetChildren2,
            13 => Op::Check,
            14 => Op::Multi,
            15 => Op::Create2,
            19 => Op::CreateContainer,
            20 => Op::DeleteContainer,
            21 => Op::CreateTtl,
            22 => Op::MultiRead,
            100 => Op::Auth,
            101 | 105 => Op::SetWatches,
            103 => Op::GetEphemerals,
            106 => Op::AddWatch,
            -10 => Op::CreateSession,
            -11 => Op::CloseSession,
            -1 => Op::Error,
            other => Op::Other(other),
        }
    }

    /// Whether it creates a znode, in any mode.
    pub fn is_create(self) -> bool {
        matches!(self, Op::Create | Op::Create2 | Op::CreateContainer | Op::CreateTtl)
    }

    /// Whether it changes the tree when it succeeds.
    pub fn is_write(self) -> bool {
        self.is_create() || matches!(self, Op::Delete | Op::SetData | Op::SetAcl | Op::Multi)
    }
}

/// Reads big-endian records; everything is `None` past the end.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(count)?;
        self.0 = tail;
        Some(head)
    }

    pub fn int(&mut self) -> Option<i32> {
        self.take(4).map(|b| i32::from_be_bytes(b.try_into().expect("four bytes")))
    }

    pub fn long(&mut self) -> Option<i64> {
        self.take(8).map(|b| i64::from_be_bytes(b.try_into().expect("eight bytes")))
    }

    pub fn boolean(&mut self) -> Option<bool> {
        self.take(1).map(|b| b[0] != 0)
    }

    /// A buffer; one of length -1 is null, read as empty.
    pub fn buffer(&mut self) -> Option<&'a [u8]> {
        let length = self.int()?;
        self.take(length.max(0) as usize)
    }

    pub fn string(&mut self) -> Option<String> {
        self.buffer().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// Skips an ACL.
    pub fn acl(&mut self) -> Option<()> {
        for _ in 0..self.int()? {
            self.int()?;
            self.buffer()?;
            self.buffer()?;
        }
        Some(())
    }
}

/// The paths that a request names, its own or those of a multi's parts. Reads from behind the request header.
pub(crate) fn paths_of_request(op: Op, body: &mut Reader<'_>) -> Vec<String> {
    match op {
        Op::Multi | Op::MultiRead => paths_of_multi(body),
        Op::Connect | Op::Ping | Op::Auth | Op::SetWatches | Op::CloseSession | Op::Other(_) => Vec::new(),
        _ => body.string().into_iter().collect(),
    }
}

fn paths_of_multi(body: &mut Reader<'_>) -> Vec<String> {
    let mut paths = Vec::new();
    while let Some(path) = path_of_part(body) {
        paths.push(path);
    }
    paths
}

/// Reads one part of a multi to its end. `None` after the last one.
fn path_of_part(body: &mut Reader<'_>) -> Option<String> {
    let op = Op::from_code(body.int()?);
    let done = body.boolean()?;
    body.int()?;
    if done {
        return None;
    }
    let path = body.string()?;
    match op {
        Op::Create | Op::Create2 | Op::CreateContainer | Op::CreateTtl => {
            body.buffer()?;
            body.acl()?;
            body.int()?;
            if op == Op::CreateTtl {
                body.long()?;
            }
        }
        Op::SetData => {
            body.buffer()?;
            body.int()?;
        }
        Op::Delete | Op::Check => {
            body.int()?;
        }
        Op::GetData | Op::GetChildren => {
            body.boolean()?;
        }
        _ => return None,
    }
    Some(path)
}
