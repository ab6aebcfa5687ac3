//! What an operator can do about a denial: the flags that would allow what was denied, or why there are none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::offer::FlagCheck;
use super::{Rights, denied};
use crate::egress::NetRule;
use crate::error::{Lack, Refusal};
use crate::plugin::grant::{Kind, SecretGrant, space};
use crate::plugin::manifest::{Manifest, Wanted};
use crate::text::shell_word;

/// What takes kinds of rights away from roots; what is not in it was taken away by the flag of the run.
pub type TakenBy = BTreeMap<Kind, TakenIn>;

/// A place of the configuration, or a resume, that takes a kind of right away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenIn {
    /// In the words that a guest is told: `deny in hermes.toml`.
    pub told: String,
    /// What an operator does about it, with the whole path and the line.
    pub mend: String,
}

/// Who was denied something.
#[derive(Debug, Clone, Copy)]
pub struct Asker<'a> {
    /// What it may do.
    pub rights: &'a Rights,
    /// What it wants, where it says so.
    pub manifest: Option<&'a Manifest>,
    /// Whether it is a tool.
    pub is_tool: bool,
    /// Whether another agent spawned the agent that it is, or works for.
    pub is_child: bool,
    /// The plugin that a grant has to name, where it is only this one that lacks the right.
    pub only: Option<&'a str>,
    /// What its flags are held against; none where nobody gives it any.
    pub flags: Option<&'a FlagCheck>,
    /// What takes rights away beside the run's own flags.
    pub taken: &'a TakenBy,
}

/// What an operator can do about a denial.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remedy {
    /// The flags that allow it, as a shell takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<String>,
    /// What there is to do besides or in their place, or why nothing helps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

impl Remedy {
    fn words(words: impl Into<String>) -> Self {
        Self {
            flags: Vec::new(),
            words: Some(words.into()),
        }
    }
}

/// What would give `asker` what it lacked.
pub fn remedy(lack: &Lack, asker: Asker<'_>) -> Remedy {
    let Some((right, kind, detail)) = right_of(lack) else {
        return Remedy {
            flags: Vec::new(),
            words: lack.why.clone(),
        };
    };
    let Asker {
        manifest,
        is_tool,
        is_child,
        only,
        ..
    } = asker;
    match kind {
        Kind::Delegation | Kind::Lessons if is_tool => return Remedy::words("no tool has that"),
        Kind::Delegation | Kind::Lessons if is_child => return Remedy::words("the agent above it has to give it that"),
        Kind::Blackboard if is_child && !is_tool => {
            return Remedy::words("the agent above it has to give it the space");
        }
        _ => {}
    }
    let asked = asker.flags.filter(|_| !is_to_fill_in(kind, detail));
    let refused = asked.and_then(|flags| flags.gives(right, asker).err());
    if was_taken(kind, detail, asker) {
        // What is allowed of a kind that is taken away counts for nothing.
        let flags = match (kind, detail) {
            (Kind::Llm, Some(_)) if refused.is_none() => vec![allow(right)],
            _ => Vec::new(),
        };
        let words = match asker.taken.get(&kind) {
            Some(taken) => taken.mend.clone(),
            None => format!("leave out --deny {}", kind.name()),
        };
        return Remedy {
            flags,
            ..Remedy::words(words)
        };
    }
    if manifest.is_some_and(|manifest| !asks(manifest, kind, detail)) {
        return Remedy::words(format!("its manifest does not ask for {right}"));
    }
    if let Some(refused) = refused {
        return Remedy::words(refused.to_string());
    }
    let flag = match only {
        Some(plugin) => allow(&format!("{plugin}={right}")),
        None => allow(right),
    };
    let above = is_child.then_some("the agents above it need that too, and have to give it on");
    let words: Vec<&str> = lack.why.as_deref().into_iter().chain(above).collect();
    Remedy {
        flags: vec![flag],
        words: (!words.is_empty()).then(|| words.join("; ")),
    }
}

/// A denial as `asker` is told of it, which is called `plugin`: what `--deny` or the configuration took away no other flag gives back.
pub fn worded(denial: Refusal, plugin: &str, asker: Asker<'_>) -> Refusal {
    let words = denial.lack.as_deref().and_then(|lack| {
        let (_, kind, detail) = right_of(lack)?;
        let what = &lack.what;
        let by = match asker.taken.get(&kind) {
            Some(taken) => taken.told.clone(),
            None => format!("--deny {}", kind.name()),
        };
        was_taken(kind, detail, asker).then(|| format!("{plugin} may not {what}: that was taken away with {by}"))
    });
    match words {
        Some(message) => Refusal { message, ..denial },
        None => denial,
    }
}

/// What a tool wants of folders, hosts and secrets and can't have, as it has nothing of that kind: each with the denial in words of the host's.
pub fn wanted_in_vain(plugin: &str, manifest: &Manifest, rights: &Rights) -> Vec<(Kind, Refusal)> {
    let mut denials: Vec<(Kind, Refusal)> = Vec::new();
    for want in &manifest.wants {
        let Wanted { kind, detail } = &want.grant;
        let any = Wanted {
            kind: *kind,
            detail: None,
        };
        let Some(lack) = lack_of(*kind, detail.as_deref()).filter(|_| !rights.covers(&any)) else {
            continue;
        };
        let denial = denied(plugin, lack);
        if !denials.iter().any(|(_, other)| *other == denial) {
            denials.push((*kind, denial));
        }
    }
    denials
}

/// What a tool lacks that wants this and has nothing of the kind.
fn lack_of(kind: Kind, detail: Option<&str>) -> Option<Lack> {
    let (verb, any) = match kind {
        Kind::Fs => ("use", "any folder"),
        Kind::Net => ("reach", "any host"),
        Kind::Secret => ("use", "any secret"),
        _ => return None,
    };
    // Of a folder it is said how it is to be used, not which it is.
    let detail = detail.filter(|_| kind != Kind::Fs);
    let target = detail.unwrap_or(any);
    Some(Lack {
        what: format!("{verb} {target}"),
        target: target.to_owned(),
        right: Some(format!("{}:{}", kind.name(), detail.or(kind.to_fill_in())?)),
        why: None,
    })
}

/// Whether a right names nothing yet, so that the operator has to. A guest that writes the same is told no more by it.
fn is_to_fill_in(kind: Kind, detail: Option<&str>) -> bool {
    detail.is_some() && detail == kind.to_fill_in()
}

/// The right that would have allowed it, its kind, and what it is of that.
fn right_of(lack: &Lack) -> Option<(&str, Kind, Option<&str>)> {
    let right = lack.right.as_deref()?;
    let (kind, detail) = right
        .split_once(':')
        .map_or((right, None), |(kind, detail)| (kind, Some(detail)));
    Some((right, kind.parse::<Kind>().ok()?, detail))
}

/// Whether a root lacks this because the whole kind was taken away.
fn was_taken(kind: Kind, detail: Option<&str>, asker: Asker<'_>) -> bool {
    if asker.is_tool || asker.is_child {
        return false;
    }
    let rights = asker.rights;
    match kind {
        Kind::Llm => !rights.llm.default,
        Kind::Blackboard => {
            let (name, _) = space(detail.unwrap_or_default());
            !rights.run_spaces && !rights.spaces.contains_key(name)
        }
        Kind::Delegation => !rights.delegation,
        Kind::Lessons => !rights.lessons,
        Kind::Fs | Kind::Net | Kind::Secret | Kind::Terminal => false,
    }
}

/// Whether a manifest wants so much.
fn asks(manifest: &Manifest, kind: Kind, detail: Option<&str>) -> bool {
    let wants = manifest.wants.iter().filter(|want| want.grant.kind == kind);
    let covers = |wanted: Option<&str>| match (kind, wanted, detail) {
        (Kind::Fs, wanted, Some(detail)) => wanted == Some("rw") || !detail.ends_with(":rw"),
        (Kind::Net, Some(wanted), Some(detail)) => {
            let rule = |text: &str| text.parse::<NetRule>().ok();
            rule(wanted)
                .zip(rule(detail))
                .is_some_and(|(a, b)| a.meet(&b).is_some())
        }
        (Kind::Blackboard, Some(wanted), Some(detail)) => {
            let ((wanted, most), (name, access)) = (space(wanted), space(detail));
            wanted == name && most >= access
        }
        (Kind::Llm, Some(wanted), detail) => Some(wanted) == detail,
        (Kind::Secret, Some(wanted), Some(detail)) => {
            let secret = |text: &str| SecretGrant::parse(text).ok();
            secret(wanted)
                .zip(secret(detail))
                .is_some_and(|(a, b)| a.meet(&b).is_some())
        }
        _ => true,
    };
    wants.map(|want| want.grant.detail.as_deref()).any(covers)
}

/// The flag as a shell takes it: a guest may have chosen the words.
fn allow(right: &str) -> String {
    format!("--allow {}", shell_word(right))
}

/// Bytes of a right that is offered to a guest.
const OFFERED: usize = 256;

/// The end of what a guest is told, with the flag where there is one. What is longer is not cut: it would allow something else.
pub(super) fn offer(right: Option<&str>) -> String {
    let right = right.filter(|right| right.len() <= OFFERED);
    right
        .map(|right| format!(". Allow it with {}", allow(right)))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::tests::{all, folder};
    use super::*;
    use crate::plugin::grant::{Access, Grant, GrantContext, ProviderFiles};
    use crate::plugin::reader::GrantReader;
    use crate::secret::SecretFile;

    fn lack(right: &str) -> Lack {
        Lack {
            what: "do it".to_owned(),
            target: right.to_owned(),
            right: Some(right.to_owned()),
            why: None,
        }
    }

    fn flags(remedy: &Remedy) -> Vec<&str> {
        remedy.flags.iter().map(String::as_str).collect()
    }

    static BY_FLAGS: TakenBy = TakenBy::new();

    fn root(rights: &Rights) -> Asker<'_> {
        Asker {
            taken: &BY_FLAGS,
            rights,
            manifest: None,
            is_tool: false,
            is_child: false,
            only: None,
            flags: None,
        }
    }

    #[test]
    fn a_root_is_told_the_flag_or_what_to_leave_out() {
        let rights = Rights::root("r", &[], &[], None).expect("rights");
        let said = remedy(&lack("llm:fast"), root(&rights));
        assert_eq!((flags(&said), said.words.as_deref()), (vec!["--allow llm:fast"], None));
        let gone = [Kind::Llm, Kind::Blackboard, Kind::Delegation];
        // Allowed beside --deny, it is not given either.
        let fast = all(vec![Grant::Llm(Some("fast".to_owned()))]);
        let less = Rights::root("r", &fast, &gone, None).expect("rights");
        for (right, expected, words) in [
            ("llm", vec![], "leave out --deny llm"),
            ("llm:fast", vec!["--allow llm:fast"], "leave out --deny llm"),
            ("blackboard:notes", vec![], "leave out --deny blackboard"),
            ("delegation", vec![], "leave out --deny delegation"),
        ] {
            let said = remedy(&lack(right), root(&less));
            assert_eq!(
                (flags(&said), said.words.as_deref()),
                (expected, Some(words)),
                "{right}"
            );
            let denial = denied("r", lack(right));
            let told = worded(denial.clone(), "r", root(&less));
            let flag = words.trim_start_matches("leave out ");
            let expected = format!("r may not do it: that was taken away with {flag}");
            assert_eq!((told.message, &told.lack), (expected, &denial.lack), "{right}");
            let others = worded(denial.clone(), "r", root(&rights));
            assert_eq!(others, denial, "{right}: nothing was taken away");
        }
        let nothing = Lack {
            right: None,
            ..lack("")
        };
        assert_eq!(remedy(&nothing, root(&rights)), Remedy::default());
        let because = Lack {
            why: Some("it leads out".to_owned()),
            ..nothing
        };
        assert_eq!(remedy(&because, root(&rights)), Remedy::words("it leads out"));
    }

    #[test]
    fn what_the_configuration_took_away_is_not_blamed_on_a_flag() {
        let gone = [Kind::Llm, Kind::Lessons];
        let rights = Rights::root("r", &[], &gone, None).expect("rights");
        let taken_in = TakenIn {
            told: "deny in hermes.toml".to_owned(),
            mend: "take llm out of deny in /p/hermes.toml:1".to_owned(),
        };
        let taken = TakenBy::from([(Kind::Llm, taken_in)]);
        let asker = Asker {
            taken: &taken,
            ..root(&rights)
        };
        for (right, told, words) in [
            ("llm", "deny in hermes.toml", "take llm out of deny in /p/hermes.toml:1"),
            ("lessons", "--deny lessons", "leave out --deny lessons"),
        ] {
            let expected = format!("r may not do it: that was taken away with {told}");
            assert_eq!(worded(denied("r", lack(right)), "r", asker).message, expected);
            assert_eq!(remedy(&lack(right), asker), Remedy::words(words));
        }
    }

    #[test]
    fn what_there_is_to_know_stands_beside_the_flag() {
        let rights = Rights::none();
        let local = Lack {
            why: Some("it is a private address".to_owned()),
            ..lack("net:GET@10.0.0.1")
        };
        let tool = Asker {
            is_tool: true,
            ..root(&rights)
        };
        let said = remedy(&local, tool);
        let flag = "--allow net:GET@10.0.0.1";
        assert_eq!(
            (flags(&said), said.words.as_deref()),
            (vec![flag], local.why.as_deref())
        );
        let said = remedy(&local, Asker { is_child: true, ..tool });
        let words = said.words.unwrap_or_default();
        assert!(
            words.starts_with("it is a private address; the agents above"),
            "{words}"
        );
    }

    #[test]
    fn a_tool_whose_manifest_asks_for_less_is_told_so() {
        let text = "name = \"t\"\n[[wants]]\ngrant = \"fs\"\n[[wants]]\ngrant = \"net:GET@x.org\"\n";
        let manifest = Manifest::parse(text).expect("a manifest");
        let rights = Rights::none();
        let asker = |manifest| Asker {
            manifest,
            is_tool: true,
            ..root(&rights)
        };
        for (right, helps) in [
            ("fs:/p", true),
            ("fs:/p:rw", false),
            ("net:GET@x.org", true),
            ("net:POST@x.org", false),
            ("net:GET@y.org", false),
            ("llm", false),
        ] {
            let said = remedy(&lack(right), asker(Some(&manifest)));
            assert_eq!(!said.flags.is_empty(), helps, "{right}: {said:?}");
            assert_eq!(said.words.is_none(), helps, "{right}: {said:?}");
            assert_eq!(remedy(&lack(right), asker(None)).flags, [format!("--allow {right}")]);
        }
        assert!(remedy(&lack("lessons"), asker(None)).flags.is_empty());
    }

    #[test]
    fn no_flag_is_named_that_would_be_refused() {
        let place = tempfile::tempdir().expect("a folder");
        let at = place.path().canonicalize().expect("a path");
        for name in ["me/out", "me/plugs", "else", "home"] {
            std::fs::create_dir_all(at.join(name)).expect("made");
        }
        let (home, me) = (at.join("home"), at.join("me"));
        let context = GrantContext::new(&home, Some(&me), ProviderFiles::default()).expect("a place");
        let aliases = BTreeSet::from(["fast".to_owned()]);
        let check = FlagCheck {
            reader: GrantReader::new(context, aliases, SecretFile::in_dir(&home)),
            components: vec![me.join("plugs/x.wasm")],
            script: None,
        };
        let read = |name: &str| {
            let dir = at.join(name);
            folder(
                name.rsplit('/').next().expect("a name"),
                &dir.display().to_string(),
                Access::Read,
            )
        };
        let held = ["me/out", "me/plugs", "else"].map(read);
        let rights = Rights::tool("t", &all(held.to_vec()), None).expect("rights");
        let text = "name = \"t\"\n[[wants]]\ngrant = \"fs:rw\"\n[[wants]]\ngrant = \"blackboard:notes:ro\"\n";
        let manifest = Manifest::parse(text).expect("a manifest");
        let asker = |manifest| Asker {
            manifest,
            is_tool: true,
            flags: Some(&check),
            ..root(&rights)
        };
        let right = |name: &str| format!("fs:{}:rw", at.join(name).display());
        for (right, manifest, refused) in [
            (right("me/out"), None, None),
            (right("else"), None, Some("the plugin has no manifest")),
            (right("else"), Some(&manifest), None),
            (right("me/plugs"), Some(&manifest), Some("x.wasm, which this run uses")),
            ("blackboard:notes:ro".to_owned(), Some(&manifest), None),
            ("blackboard:a/b".to_owned(), None, Some("no slash")),
            ("blackboard:spill".to_owned(), None, Some("choose another name")),
            ("llm:fast".to_owned(), None, None),
            ("llm:slow".to_owned(), None, Some("there is no alias slow")),
            ("terminal:sh".to_owned(), None, Some("has no terminal")),
            ("secret:k@x.org".to_owned(), None, Some("there is no secret k")),
            // What it has not is not looked up, be it there or not.
            (right("home"), None, Some("none of the folders")),
            (right("nowhere"), None, Some("none of the folders")),
            // What names nothing yet is the operator's to fill in.
            ("fs:DIR".to_owned(), None, None),
            ("net:HOST".to_owned(), None, None),
            ("secret:NAME@HOST".to_owned(), None, None),
        ] {
            let said = remedy(&lack(&right), asker(manifest));
            match refused {
                None => assert_eq!((said.flags, said.words), (vec![allow(&right)], None)),
                Some(why) => {
                    let words = said.words.unwrap_or_default();
                    assert!(words.starts_with(&right) && words.contains(why), "{right}: {words}");
                    assert!(said.flags.is_empty(), "{right}: {:?}", said.flags);
                }
            }
        }
        let said = remedy(&lack("blackboard:notes"), asker(Some(&manifest)));
        let unasked = "its manifest does not ask for blackboard:notes";
        assert_eq!(said, Remedy::words(unasked), "it asks for no more than to read there");
        let agent = Asker {
            is_tool: false,
            ..asker(None)
        };
        let right = right("else");
        assert_eq!(
            remedy(&lack(&right), agent).flags,
            [allow(&right)],
            "its tools' manifests are asked"
        );
    }

    #[test]
    fn what_a_tool_wants_of_a_kind_of_which_it_has_nothing_is_wanted_in_vain() {
        let wants = ["fs", "fs:rw", "net:GET@x.org", "net:y.org", "secret", "llm"];
        let wants = wants.map(|want| format!("[[wants]]\ngrant = \"{want}\"\n")).concat();
        let manifest = Manifest::parse(&format!("name = \"t\"\n{wants}")).expect("a manifest");
        let told = |rights: &Rights| -> Vec<(String, Vec<String>)> {
            let asker = Asker {
                manifest: Some(&manifest),
                is_tool: true,
                ..root(rights)
            };
            let denials = wanted_in_vain("t", &manifest, rights);
            let of = |(_, denial): &(Kind, Refusal)| {
                let lack = denial.lack.as_deref().expect("what it is about");
                assert!(denial.message.starts_with("t may not "), "{denial}");
                (lack.what.clone(), remedy(lack, asker).flags)
            };
            denials.iter().map(of).collect()
        };
        let expected = |denials: &[(&str, &str)]| -> Vec<(String, Vec<String>)> {
            let of = |(what, right): &(&str, &str)| ((*what).to_owned(), vec![format!("--allow {right}")]);
            denials.iter().map(of).collect()
        };
        let nothing = [
            ("use any folder", "fs:DIR"),
            ("reach GET@x.org", "net:GET@x.org"),
            ("reach y.org", "net:y.org"),
            ("use any secret", "secret:NAME@HOST"),
        ];
        assert_eq!(told(&Rights::none()), expected(&nothing));
        let net = Grant::Net("x.org".parse().expect("a rule"));
        let some = all(vec![folder("p", "/p", Access::Read), net]);
        let some = Rights::tool("t", &some, Some(&manifest)).expect("rights");
        assert_eq!(told(&some), expected(&nothing[3..]), "it has some of the others");
    }

    #[test]
    fn a_flag_names_the_plugin_where_it_alone_lacks_the_right() {
        let rights = Rights::none();
        let asker = Asker {
            is_tool: true,
            only: Some("files"),
            ..root(&rights)
        };
        assert_eq!(flags(&remedy(&lack("fs:DIR"), asker)), ["--allow files=fs:DIR"]);
    }

    #[test]
    fn what_a_child_lacks_is_also_its_parents_to_give() {
        let rights = Rights::none();
        let child = Asker {
            is_child: true,
            ..root(&rights)
        };
        let said = remedy(&lack("net:x.org"), child);
        assert_eq!(flags(&said), ["--allow net:x.org"]);
        assert!(said.words.expect("words").contains("above"), "both are said");
        for right in ["blackboard:notes", "delegation", "lessons"] {
            let said = remedy(&lack(right), child);
            assert!(said.flags.is_empty() && said.words.is_some(), "{right}");
        }
    }

    #[test]
    fn a_flag_is_one_word_to_a_shell_whatever_a_guest_asked_for() {
        assert_eq!(allow("net:GET@http://x.org:8080"), "--allow net:GET@http://x.org:8080");
        assert_eq!(allow("net:*.x.org"), "--allow 'net:*.x.org'");
        assert_eq!(allow("llm:x; rm '~'"), r"--allow 'llm:x; rm '\''~'\'''");
    }
}
