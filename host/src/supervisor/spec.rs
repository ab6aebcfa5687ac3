//! What a child's spec asks for, each part held against what its parent has. Asking for more is an error that names what is missing.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::amounts::Amounts;
use crate::bindings::{delegation, types};
use crate::error::{Dimension, Lack, Refusal};
use crate::ledger::is_own;
use crate::limits::Limits;
use crate::plugin::rights::{Access, SpaceWish};
use crate::session::Session;
use crate::session::guest::Guest;
use crate::{json, text};

/// Characters of a role.
const ROLE: usize = 64;
/// Grants, spaces and toolsets that a spec names, each.
const NAMED: usize = 256;
/// Less than this left, in milliseconds, and a child could do nothing.
const LEAST_TIME: u64 = 100;

/// Whether the spec names no more than it may, and by no longer names.
pub(super) fn lengths(spec: &delegation::ChildSpec, limits: &Limits) -> Result<(), Refusal> {
    let most = limits.blackboard_key;
    for name in spec.spaces.iter().flat_map(|share| [&share.space, &share.prefix]) {
        if name.len() as u64 > most {
            return Err(Refusal::invalid(format!(
                "A space and a prefix in a child's spec have at most {most} bytes (limits.blackboard.key); this one has {}.",
                name.len()
            )));
        }
    }
    for (what, named) in [
        ("grants", spec.grants.len()),
        ("spaces", spec.spaces.len()),
        ("toolsets", spec.toolsets.len()),
    ] {
        if named > NAMED {
            return Err(Refusal::invalid(format!(
                "A child's spec names {named} {what}; {NAMED} are the most."
            )));
        }
    }
    Ok(())
}

/// The tools of these toolsets, by name, and the toolsets.
pub(super) fn tools(parent: &Guest, wanted: &[String]) -> Result<(Vec<String>, Vec<String>), Refusal> {
    let toolbox = &parent.session.run.toolbox;
    let mine = || {
        let names = parent.tools.iter();
        names.filter_map(|name| Some((name, toolbox.get(name)?)))
    };
    let has: BTreeSet<String> = mine().map(|(_, tool)| tool.toolset_name().to_owned()).collect();
    for toolset in wanted {
        if !has.contains(toolset) {
            let (toolset, parent) = (text::line(toolset, 64), text::line(&parent.plugin, 64));
            let has = if has.is_empty() {
                "none".to_owned()
            } else {
                has.iter().cloned().collect::<Vec<_>>().join(", ")
            };
            let words = format!("{parent} may not give the toolset {toolset} to a child: it has {has}.");
            return Err(Refusal::denied(words).about(Lack {
                what: format!("give the toolset {toolset} to a child"),
                target: toolset,
                right: None,
                why: Some("it has no such toolset itself".to_owned()),
            }));
        }
    }
    let held = mine().filter(|(_, tool)| wanted.iter().any(|w| w == tool.toolset_name()));
    Ok((held.map(|(name, _)| name.clone()).collect(), wanted.to_vec()))
}

pub(super) fn model(
    parent: &Guest,
    alias: Option<&str>,
) -> Result<Option<(crate::llm::Model, crate::session::Alias)>, Refusal> {
    let (session, run) = (&parent.session, &parent.session.run);
    let own = session.model.as_ref();
    match parent.model_alias(alias) {
        None => {
            if alias.is_some() {
                parent.rights.may_llm(&parent.plugin, None)?;
            }
            Ok(own.map(|model| {
                let meant = crate::session::Alias {
                    model: model.full_name(),
                    price: model.price,
                };
                (model.clone(), meant)
            }))
        }
        Some(alias) => {
            parent.rights.may_llm(&parent.plugin, Some(alias))?;
            let unknown = || Refusal::not_found(format!("This run has no model {}.", text::line(alias, 64)));
            let meant = run.aliases.get(alias).ok_or_else(unknown)?;
            let found = run.models.resolve(&meant.model);
            let found = found.map_err(|e| Refusal::not_found(e.to_string()))?;
            Ok(Some((found.known_as(alias, meant.price), meant.clone())))
        }
    }
}

pub(super) fn space(grant: &delegation::SpaceGrant) -> SpaceWish {
    SpaceWish {
        space: grant.space.clone(),
        prefix: grant.prefix.clone(),
        access: match grant.access {
            delegation::Access::ReadOnly => Access::Read,
            delegation::Access::ReadWrite => Access::Write,
        },
    }
}

pub(super) fn role(role: &str) -> Result<String, Refusal> {
    let clean = text::line(role, ROLE);
    if clean.trim().is_empty() {
        return Err(Refusal::invalid(
            "A child's role is a word or two that say what it is for.",
        ));
    }
    Ok(clean)
}

pub(super) fn task(session: &Session, spec: &delegation::ChildSpec) -> Result<types::Task, Refusal> {
    let limits = &session.run.limits;
    let bytes = (spec.prompt.len() + spec.inputs.as_ref().map_or(0, String::len)) as u64;
    if bytes > limits.prompt {
        return Err(Refusal::invalid(format!(
            "The child's prompt and inputs have {bytes} bytes; {} are the most (limits.prompt).",
            limits.prompt
        )));
    }
    if let Some(inputs) = &spec.inputs {
        let is_object = json::is_object(inputs, limits.json_depth)
            .map_err(|e| Refusal::invalid(format!("The child's inputs are no usable JSON: {e}.")))?;
        if !is_object {
            return Err(Refusal::invalid("The child's inputs are no JSON object."));
        }
    }
    Ok(types::Task {
        prompt: spec.prompt.clone(),
        inputs: spec.inputs.clone(),
        attempt: 1,
        previous: None,
        lessons: Vec::new(),
    })
}

/// The child's limits, and what of them is reserved from its parent.
pub(super) fn budget(session: &Session, wanted: &[types::Amount]) -> Result<(Vec<(Dimension, u64)>, Amounts), Refusal> {
    use Dimension as D;
    let limits = &session.run.limits;
    let mut caps: Vec<(Dimension, u64)> = Vec::new();
    let mut allotment = Amounts::ZERO;
    for amount in wanted {
        let (d, value) = (Dimension::from(amount.dimension), amount.value);
        if caps.iter().any(|(seen, _)| *seen == d) {
            return Err(Refusal::invalid(format!("The child's budget names {d} twice.")));
        }
        if d == D::Iterations && value > limits.iterations_child_max {
            return Err(Refusal::invalid(format!(
                "A child may have {} iterations at most (limits.iterations.child_max), not {value}.",
                limits.iterations_child_max
            )));
        }
        if d == D::JournalBytes {
            let rest = session.run.ledger.remaining(session.account, d).unwrap_or(u64::MAX);
            if value > rest.min(limits.journal_bytes) {
                return Err(Refusal::exhausted(
                    d,
                    format!(
                        "A child may write {} bytes of journal at most, as its parent may (limits.journal_bytes), not {value}.",
                        rest.min(limits.journal_bytes)
                    ),
                ));
            }
        }
        caps.push((d, value));
        if !is_own(d) {
            allotment = allotment.with(d, value);
        }
    }
    let mut default = |d, value| {
        if !caps.iter().any(|(seen, _)| *seen == d) {
            caps.push((d, value));
        }
    };
    // The operator's own limits bind each child by itself; nothing is set aside for them.
    session.run.child.iter().for_each(|(d, value)| match d {
        D::JournalBytes => {}
        _ => default(d, value),
    });
    default(D::Iterations, limits.iterations_child);
    let journal = session.run.ledger.remaining(session.account, D::JournalBytes);
    let own = session.run.child.get(D::JournalBytes).unwrap_or(limits.journal_bytes);
    default(D::JournalBytes, own.min(journal.unwrap_or(u64::MAX)));
    if let Some(at) = session.deadline() {
        let rest = at.saturating_duration_since(tokio::time::Instant::now()).as_millis();
        let rest = u64::try_from(rest).unwrap_or(u64::MAX);
        if rest < LEAST_TIME {
            return Err(Refusal::exhausted(
                D::WallClockMs,
                format!(
                    "{rest} ms are left, too little for a child ({}).",
                    session.raises_time()
                ),
            ));
        }
        match caps.iter_mut().find(|(d, _)| *d == D::WallClockMs) {
            Some((_, own)) => *own = (*own).min(rest),
            None => caps.push((D::WallClockMs, rest)),
        }
    }
    Ok((caps, allotment))
}
