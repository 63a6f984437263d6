//! Which user a process is on the host.
//!
//! As root: the agent is `base`; a worker gets one of the 65,535 users after it for its one life;
//! an instance of an application gets a range of 65,536 for its own life, written nowhere but in
//! the owner of its storage. As an ordinary user there is one user for all.

use std::collections::BTreeSet;

use parapet_sandbox::launcher_process::USERS;
use parapet_sandbox::spawn::Users;
use thiserror::Error;

/// Users of one application instance.
pub(crate) const RANGE: u32 = 65_536;
/// Most instances with a range: far above what an appliance of any size runs.
const RANGES: u32 = 255;
/// All users that are given out, from the base on: 2^24, so that many appliances have room beside
/// each other, as a demo and the host's own.
pub(crate) const SPAN: u32 = (RANGES + 1) * RANGE;
/// Below are accounts of the host.
pub(crate) const LOWEST_BASE: u32 = 65_536;
/// Above, ranges would pass 2^31.
pub(crate) const HIGHEST_BASE: u32 = (1 << 31) - SPAN;

// Users are signed numbers in some software still.
const _: () = assert!(HIGHEST_BASE + SPAN <= 1 << 31 && SPAN == USERS);

/// What a worker runs as inside.
const WORKER: u32 = 1000;

/// Why there is no user.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum UsersError {
    #[error("find a user for a worker: all {} are in use", RANGE - 1)]
    NoWorker,
    #[error("find users for an instance: {RANGES} instances have theirs; remove some")]
    NoRange,
    #[error(
        "keep the users of an instance: its storage belongs to user {owner}, which is not the \
         first of a range from {base} on; remove the instance, or start with its --id-base"
    )]
    Foreign { owner: u32, base: u32 },
}

/// Gives users out.
#[derive(Debug)]
pub(crate) enum Directory {
    /// The launcher is root.
    Own { base: u32, last: u32 },
    /// Everything is the caller.
    Shared,
}

impl Directory {
    pub(crate) fn own(base: u32) -> Self {
        Self::Own { base, last: 0 }
    }

    /// A user that no living worker has, and not the one that ended last.
    pub(crate) fn worker(&mut self, taken: &BTreeSet<u32>) -> Result<Users, UsersError> {
        let outside = match self {
            Self::Shared => 0,
            Self::Own { base, last } => {
                let next = (1..RANGE)
                    .map(|step| (*last + step - 1) % (RANGE - 1) + 1)
                    .find(|offset| !taken.contains(&(*base + offset)))
                    .ok_or(UsersError::NoWorker)?;
                *last = next;
                *base + next
            }
        };
        Ok(Users {
            inside: WORKER,
            outside,
            count: 1,
            run_as: WORKER,
        })
    }

    /// The range of an instance whose storage belongs to `owner`, or a free one where there is no
    /// storage yet; `others` own the storage of other instances.
    pub(crate) fn application(
        &self,
        owner: Option<u32>,
        others: &BTreeSet<u32>,
    ) -> Result<Users, UsersError> {
        let Self::Own { base, .. } = *self else {
            return Ok(Users {
                inside: 0,
                outside: 0,
                count: 1,
                run_as: 0,
            });
        };
        let first = |range: u32| base + range * RANGE;
        let outside = match owner {
            Some(owner) => (1..=RANGES)
                .map(first)
                .find(|start| *start == owner)
                .ok_or(UsersError::Foreign { owner, base })?,
            None => (1..=RANGES)
                .map(first)
                .find(|start| !others.contains(start))
                .ok_or(UsersError::NoRange)?,
        };
        Ok(Users {
            inside: 0,
            outside,
            count: RANGE,
            run_as: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u32 = 0x5000_0000;

    #[test]
    fn two_workers_after_each_other_are_two_users() -> Result<(), UsersError> {
        let mut directory = Directory::own(BASE);
        let first = directory.worker(&BTreeSet::new())?;
        let second = directory.worker(&BTreeSet::new())?;
        assert_eq!((first.outside, second.outside), (BASE + 1, BASE + 2));
        Ok(())
    }

    #[test]
    fn a_living_workers_user_is_not_given_again_when_the_count_starts_over() {
        let mut directory = Directory::Own {
            base: BASE,
            last: RANGE - 1,
        };
        let taken = BTreeSet::from([BASE + 1]);
        assert_eq!(
            directory.worker(&taken).map(|users| users.outside),
            Ok(BASE + 2)
        );
        let all = (1..RANGE).map(|offset| BASE + offset).collect();
        assert_eq!(directory.worker(&all), Err(UsersError::NoWorker));
    }

    #[test]
    fn an_instance_keeps_its_range_and_shares_it_with_nobody() -> Result<(), UsersError> {
        let directory = Directory::own(BASE);
        let first = directory.application(None, &BTreeSet::new())?.outside;
        let second = directory
            .application(None, &BTreeSet::from([first]))?
            .outside;
        assert_eq!((first, second), (BASE + RANGE, BASE + 2 * RANGE));
        let kept = directory.application(Some(second), &BTreeSet::from([first]))?;
        assert_eq!((kept.outside, kept.count), (second, RANGE));
        Ok(())
    }

    #[test]
    fn storage_of_a_user_outside_the_ranges_is_refused() {
        let directory = Directory::own(BASE);
        for owner in [
            0,
            1000,
            BASE,
            BASE + 1,
            BASE + RANGE + 1,
            BASE + (RANGES + 1) * RANGE,
        ] {
            let refused = directory.application(Some(owner), &BTreeSet::new());
            assert_eq!(refused, Err(UsersError::Foreign { owner, base: BASE }));
        }
    }
}
