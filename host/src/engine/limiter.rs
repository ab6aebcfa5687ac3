//! What an instance may grow to, all its memories and all its tables together. What was allowed once is never given back, so
//! that a growth which fails later can't be used to make room.

use wasmtime::ResourceLimiter;

use crate::limits::Limits;

/// One instance's growth.
pub struct Limiter {
    memory: Growth,
    tables: Growth,
    counts: Counts,
    /// The first limit that was met, by its key, for the message when the instance fails.
    met: Option<&'static str>,
    /// Told of that limit and its value when it is met.
    tell: Tell,
}

/// Who hears that a limit was met, by its key, and how much it is.
pub type Tell = Box<dyn Fn(&'static str, u64) + Send + Sync>;

#[derive(Debug)]
struct Growth {
    used: usize,
    most: usize,
    key: &'static str,
}

#[derive(Debug)]
struct Counts {
    instances: usize,
    memories: usize,
    tables: usize,
}

impl Limiter {
    /// Nothing used yet.
    pub fn new(limits: &Limits, tell: Tell) -> Self {
        let size = |value| usize::try_from(value).unwrap_or(usize::MAX);
        Self {
            memory: Growth {
                used: 0,
                most: size(limits.memory),
                key: "memory",
            },
            tables: Growth {
                used: 0,
                most: size(limits.table_elements),
                key: "table_elements",
            },
            counts: Counts {
                instances: size(limits.core_instances),
                memories: size(limits.memories),
                tables: size(limits.tables),
            },
            met: None,
            tell,
        }
    }

    /// The first limit that was met.
    pub fn met(&self) -> Option<&'static str> {
        self.met
    }

    /// Counts a growth, where it fits.
    fn grow(&mut self, what: fn(&mut Self) -> &mut Growth, from: usize, to: usize, own: Option<usize>) -> bool {
        // More than the memory's own maximum fails anyway, and must not count.
        if own.is_some_and(|own| to > own) {
            return false;
        }
        let growth = what(self);
        let more = to.saturating_sub(from);
        if let Some(sum) = growth.used.checked_add(more).filter(|sum| *sum <= growth.most) {
            growth.used = sum;
            return true;
        }
        let (key, most) = (growth.key, growth.most as u64);
        if self.met.is_none() {
            self.met = Some(key);
            (self.tell)(key, most);
        }
        false
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(|l| &mut l.memory, current, desired, maximum))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.grow(|l| &mut l.tables, current, desired, maximum))
    }

    fn instances(&self) -> usize {
        self.counts.instances
    }

    fn memories(&self) -> usize {
        self.counts.memories
    }

    fn tables(&self) -> usize {
        self.counts.tables
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter() -> Limiter {
        let limits = Limits {
            memory: 100,
            ..Limits::default()
        };
        Limiter::new(&limits, Box::new(|_, _| ()))
    }

    #[test]
    fn all_memories_share_one_limit_to_the_byte() {
        let mut limiter = limiter();
        assert!(limiter.memory_growing(0, 60, None).expect("no error"));
        assert!(limiter.memory_growing(0, 40, None).expect("no error"));
        assert_eq!(limiter.met(), None);
        assert!(!limiter.memory_growing(40, 41, None).expect("no error"));
        assert_eq!(limiter.met(), Some("memory"));
    }

    #[test]
    fn growth_past_a_memorys_own_maximum_is_refused_and_not_counted() {
        let mut limiter = limiter();
        assert!(!limiter.memory_growing(0, 60, Some(50)).expect("no error"));
        assert!(limiter.memory_growing(0, 100, None).expect("no error"));
    }
}
