//! How the start record of a run has its limits: each with its key, so that a host that has more of them, or fewer, reads them.

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeTuple as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Limits, TABLE};

/// Stands first where limits are written down by name: less than the least value of the limit that stood first before.
const BY_NAME: u64 = 0;

/// The limits of the first form in which they were written down: their values alone, in this order.
const FIRST: &str = "\
    memory table_elements memories tables core_instances wasm_stack async_stack start_wall step_wall run_wall cancel_grace fuel \
    iterations.root iterations.child iterations.child_max free_turns host_calls host_calls_all log_line log_step progress checkpoint \
    report blackboard.key blackboard.value blackboard.keys blackboard.bytes prompt reply tool_calls tool_result tool_list \
    tool_description tool_depth tool_parallel delegation.depth delegation.alive delegation.total restart.attempts restart.intensity \
    restart.window restart.backoff restart.backoff_max scrub.report scrub.tool scrub.spill resident component compile.wall \
    compile.parallel compile.cache http.body http.headers http.header_count http.redirects http.total llm.connect llm.first_byte \
    llm.idle llm.total llm.tries llm.retry_after llm.parallel hostcall_bytes handles resources random json.depth json.schema \
    json.schema_depth journal_bytes journal_records replay.wall run_file.bytes run_file.line store.busy disk_reserve resume_parallel \
    threads fds file_size";

impl Serialize for Limits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let all: Vec<(&str, u64)> = TABLE
            .iter()
            .filter_map(|row| Some((row.key, self.get(row.key)?)))
            .collect();
        let mut written = serializer.serialize_tuple(2)?;
        written.serialize_element(&BY_NAME)?;
        written.serialize_element(&all)?;
        written.end()
    }
}

impl<'de> Deserialize<'de> for Limits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let most = FIRST.split_ascii_whitespace().count();
        deserializer.deserialize_tuple(most, Written)
    }
}

/// Reads limits in both forms. One that the writer did not have is as it is by default.
struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = Limits;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("limits by name, or the values of the first ones")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Limits, A::Error> {
        let missing = || A::Error::custom("a limit is missing");
        let mut limits = Limits::default();
        let first: u64 = seq.next_element()?.ok_or_else(missing)?;
        if first == BY_NAME {
            let all: Vec<(String, u64)> = seq.next_element()?.ok_or_else(missing)?;
            all.iter().for_each(|(key, value)| limits.put(key, *value));
            return Ok(limits);
        }
        let mut value = first;
        let mut keys = FIRST.split_ascii_whitespace().peekable();
        while let Some(key) = keys.next() {
            limits.put(key, value);
            if keys.peek().is_some() {
                value = seq.next_element()?.ok_or_else(missing)?;
            }
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_are_written_now_and_as_they_were_first() {
        let limits = Limits {
            memory: 1 << 20,
            file_size: 2 << 20,
            audit_targets: 7,
            ..Limits::default()
        };
        let written = postcard::to_stdvec(&(&limits, "what follows")).expect("written");
        let read: (Limits, String) = postcard::from_bytes(&written).expect("read");
        assert_eq!(read, (limits.clone(), "what follows".to_owned()));
        let json = serde_json::to_value(&limits).expect("written");
        assert_eq!(serde_json::from_value::<Limits>(json).expect("read"), limits);
        let keys = || FIRST.split_ascii_whitespace();
        assert!(
            keys().all(|key| limits.get(key).is_some()),
            "a limit is gone or has another key"
        );
        let values = keys().map(|key| limits.get(key).expect("a limit"));
        let mut first: Vec<u8> = values
            .flat_map(|value| postcard::to_stdvec(&value).expect("written"))
            .collect();
        first.extend(postcard::to_stdvec("what follows").expect("written"));
        let (read, rest): (Limits, String) = postcard::from_bytes(&first).expect("read");
        assert_eq!(rest, "what follows");
        let of_then = Limits {
            audit_targets: Limits::default().audit_targets,
            ..limits
        };
        assert_eq!(read, of_then);
        assert!(postcard::from_bytes::<Limits>(&first[..20]).is_err());
    }
}
