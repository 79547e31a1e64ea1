//! Looks for an order of operations that agrees with the clock and in which each is possible: linearizability, by Wing
//! and Gong's search, with Lowe's memory of what was tried.

use std::collections::HashSet;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// An operation between its call and its return.
#[derive(Clone, Debug)]
pub struct Step<A> {
    pub begin: u64,
    pub end: u64,
    pub act: A,
    /// It may never have been done at all.
    pub perhaps: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Possible,
    Impossible,
    /// The time was over.
    Open,
}

/// The steps that are done, as the number of those at the beginning, and which of the others. The others are few: they
/// overlap.
type Done = (usize, Vec<usize>);

/// Searches no longer than `patience`. `apply` is what an act makes of a state; none where it is not possible.
pub fn search<A, S: Clone + Eq + Hash>(
    mut steps: Vec<Step<A>>,
    start: S,
    apply: impl Fn(&S, &A) -> Option<S>,
    patience: Duration,
) -> Verdict {
    steps.sort_by_key(|step| step.begin);
    let began = Instant::now();
    let mut seen: HashSet<(Done, S)> = HashSet::new();
    let mut waiting: Vec<(Done, S)> = vec![((0, Vec::new()), start)];
    while let Some((done, state)) = waiting.pop() {
        if !seen.insert((done.clone(), state.clone())) {
            continue;
        }
        if seen.len().is_multiple_of(1024) && began.elapsed() > patience {
            return Verdict::Open;
        }
        let (first, beyond) = &done;
        // What has not begun before another one's end comes after that.
        let mut soonest = u64::MAX;
        let mut next: Vec<usize> = Vec::new();
        let mut is_over = true;
        for (number, step) in steps.iter().enumerate().skip(*first).filter(|(number, _)| !beyond.contains(number)) {
            if step.begin > soonest {
                break;
            }
            next.push(number);
            if !step.perhaps {
                is_over = false;
                soonest = soonest.min(step.end);
            }
        }
        if is_over {
            return Verdict::Possible;
        }
        // The last one pushed is tried first: what is sure before what may be, and what ended first of all.
        next.sort_by_key(|&number| std::cmp::Reverse((steps[number].perhaps, steps[number].end)));
        for number in next.into_iter().filter(|&number| steps[number].begin <= soonest) {
            if let Some(state) = apply(&state, &steps[number].act) {
                waiting.push((with(&done, number), state));
            }
        }
    }
    Verdict::Impossible
}

fn with((first, beyond): &Done, number: usize) -> Done {
    let (mut first, mut beyond) = (*first, beyond.clone());
    beyond.push(number);
    beyond.sort_unstable();
    while beyond.first() == Some(&first) {
        beyond.remove(0);
        first += 1;
    }
    (first, beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A register: a write, or a read with what it gave.
    #[derive(Clone, Copy)]
    enum Act {
        Write(u32),
        Read(u32),
    }
    use Act::{Read, Write};

    fn apply(state: &u32, act: &Act) -> Option<u32> {
        match *act {
            Write(value) => Some(value),
            Read(value) => (value == *state).then_some(value),
        }
    }

    fn verdict(steps: &[(u64, u64, Act, bool)]) -> Verdict {
        let step = |&(begin, end, act, perhaps): &(u64, u64, Act, bool)| Step { begin, end, act, perhaps };
        search(steps.iter().map(step).collect(), 0, apply, Duration::from_secs(10))
    }

    #[test]
    fn what_is_possible() {
        assert_eq!(verdict(&[]), Verdict::Possible);
        assert_eq!(
            verdict(&[(0, 9, Write(1), false), (1, 2, Read(0), false), (3, 4, Read(1), false)]),
            Verdict::Possible
        );
        let unknown = [(0, u64::MAX, Write(1), true), (1, 2, Read(0), false), (3, 4, Read(1), false)];
        assert_eq!(verdict(&unknown), Verdict::Possible, "it was done late");
        assert_eq!(verdict(&unknown[..2]), Verdict::Possible, "it was never done");
        assert_eq!(
            verdict(&[(1, 4, Read(1), false), (2, 3, Write(1), false), (5, 6, Read(0), false)]),
            Verdict::Impossible
        );
    }

    #[test]
    fn what_is_impossible() {
        assert_eq!(verdict(&[(0, 1, Write(1), false), (2, 3, Read(0), false)]), Verdict::Impossible);
        assert_eq!(verdict(&[(0, 1, Read(1), false), (2, u64::MAX, Write(1), true)]), Verdict::Impossible);
        let backwards = [(0, 9, Write(1), false), (1, 2, Read(1), false), (3, 4, Read(0), false)];
        assert_eq!(verdict(&backwards), Verdict::Impossible);
        let twice =
            [(0, u64::MAX, Write(1), true), (1, 2, Read(1), false), (3, 4, Write(2), false), (5, 6, Read(1), false)];
        assert_eq!(verdict(&twice), Verdict::Impossible, "an unknown write is done once");
    }
}
