//! Who is at the other end: an address, or a local user as the kernel names it.

use std::net::{IpAddr, SocketAddr};

use super::{Identity, Scope, Via};

/// The other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    Address(SocketAddr),
    /// Of the local socket.
    Socket {
        uid: u32,
        gid: u32,
        groups: Vec<u32>,
    },
}

impl Peer {
    /// The peer of a connection to the local socket (`SO_PEERCRED`), with the supplementary groups of its process.
    ///
    /// # Errors
    /// The kernel doesn't say.
    pub fn of_socket(stream: &tokio::net::UnixStream) -> std::io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let groups = credentials.pid().map(supplementary_groups).unwrap_or_default();
        Ok(Peer::Socket { uid: credentials.uid(), gid: credentials.gid(), groups })
    }

    /// The address, where it is one.
    pub(super) fn ip(&self) -> Option<IpAddr> {
        match self {
            Peer::Address(address) => Some(address.ip()),
            Peer::Socket { .. } => None,
        }
    }

    /// What a local user may: root and the daemon's own user everything, members of the group operate.
    pub(super) fn identity(&self, own_uid: u32, group: Option<u32>) -> Option<Identity> {
        let Peer::Socket { uid, gid, groups } = self else { return None };
        let scope = if *uid == 0 || *uid == own_uid {
            Scope::Admin
        } else if group.is_some_and(|group| *gid == group || groups.contains(&group)) {
            Scope::Operate
        } else {
            return None;
        };
        Some(Identity { name: format!("uid {uid}"), scope, via: Via::Socket })
    }
}

/// `SO_PEERCRED` names the primary group only; the others are in /proc. None where they can't be read: then the
/// primary group has to do. (The mode of the socket's file stands before all this.)
fn supplementary_groups(pid: i32) -> Vec<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    groups.unwrap_or_default().split_whitespace().filter_map(|group| group.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_local_user_may() {
        let peer = |uid, gid, groups: &[u32]| Peer::Socket { uid, gid, groups: groups.to_vec() };
        for (peer, group, expected) in [
            (peer(0, 0, &[]), None, Some(Scope::Admin)),
            (peer(990, 990, &[]), None, Some(Scope::Admin)),
            (peer(1000, 1000, &[]), None, None),
            (peer(1000, 1000, &[50]), Some(50), Some(Scope::Operate)),
            (peer(1000, 50, &[]), Some(50), Some(Scope::Operate)),
            (peer(1000, 1000, &[4, 24]), Some(50), None),
            (Peer::Address("127.0.0.1:1".parse().unwrap()), Some(0), None),
        ] {
            assert_eq!(peer.identity(990, group).map(|identity| identity.scope), expected, "{peer:?}");
        }
    }

    #[tokio::test]
    async fn the_kernel_says_who_it_is() {
        let (ours, _theirs) = tokio::net::UnixStream::pair().unwrap();
        let Peer::Socket { uid, .. } = Peer::of_socket(&ours).unwrap() else { panic!("a socket") };
        assert_eq!(uid, rustix::process::getuid().as_raw());
    }
}
