//! What a child may do: what its parent gives it of what the parent has. Asking for more is refused, and names what is missing; nothing is
//! narrowed in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::space::{Share, SpaceRights};
use super::{Models, Rights, remedy};
use crate::egress::NetRule;
use crate::error::{Lack, Refusal};
use crate::plugin::grant::{Access, FolderGrant, Grant, Kind, SecretGrant};
use crate::store::SPILL_SPACE;
use crate::text;

/// Bytes of one grant: as many as the longest path and a name have (`PATH_MAX` and `NAME_MAX` of Linux), and some besides.
const GRANT: usize = 4096 + 512;

/// What a parent gives to a child.
#[derive(Debug, Clone, Copy)]
pub struct Wishes<'a> {
    /// The parent's name, for messages.
    pub parent: &'a str,
    /// Shares of spaces.
    pub spaces: &'a [SpaceWish],
    /// Grants in the operator's notation; a kind that none of them names is as the parent's.
    pub grants: &'a [String],
    /// The folder in which relative paths begin.
    pub cwd: &'a Path,
}

/// A share of a space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceWish {
    /// The space.
    pub space: String,
    /// Only keys below this; empty for all.
    pub prefix: String,
    /// Whether they may be written.
    pub access: Access,
}

impl Rights {
    /// The rights of a child.
    ///
    /// # Errors
    /// `denied` for what this has not; `invalid-input` for a grant that can't be read.
    pub fn for_child(&self, wishes: &Wishes<'_>) -> Result<Self, Refusal> {
        let mut child = Self {
            spaces: self.child_spaces(wishes)?,
            run_spaces: false,
            ..self.clone()
        };
        let grants = wishes.grants.iter().map(|text| Given::parse(text));
        let grants: Vec<Given<'_>> = grants.collect::<Result<_, _>>()?;
        let named: BTreeSet<Kind> = grants.iter().map(|given| given.kind).collect();
        for kind in named {
            let of_kind = || grants.iter().filter(|g| g.kind == kind && g.what != Some("none"));
            match kind {
                Kind::Fs => child.folders = self.child_folders(wishes, of_kind())?,
                Kind::Net => child.net = self.child_net(wishes, of_kind())?,
                Kind::Llm => child.llm = self.child_models(wishes, of_kind())?,
                Kind::Delegation => child.delegation = taken(of_kind(), self.delegation)?,
                Kind::Lessons => child.lessons = taken(of_kind(), self.lessons)?,
                Kind::Blackboard if of_kind().next().is_none() => {}
                Kind::Blackboard => {
                    return Err(Refusal::invalid(
                        "Spaces are given to a child in `spaces`, not in `grants`.",
                    ));
                }
                Kind::Secret => child.secrets = self.child_secrets(wishes, of_kind())?,
                Kind::Terminal => {
                    if let Some(given) = of_kind().next() {
                        return Err(not_held(wishes, given.text, Some(given.text.to_owned()), None));
                    }
                }
            }
        }
        Ok(child)
    }

    /// The same with a default model that is one of its aliases.
    #[must_use]
    pub fn with_default_model(mut self) -> Self {
        self.llm.default = true;
        self
    }

    /// The same with its own part of the space in which texts are kept that were too long for it: those it may read in full.
    #[must_use]
    pub fn with_spill(mut self, prefix: &str) -> Self {
        let own = Share {
            prefix: prefix.to_owned(),
            access: Access::Read,
        };
        let spill = self.spaces.entry(SPILL_SPACE.to_owned()).or_insert(SpaceRights {
            home: false,
            shares: Vec::new(),
        });
        spill.shares.push(own);
        self
    }

    fn child_spaces(&self, wishes: &Wishes<'_>) -> Result<BTreeMap<String, SpaceRights>, Refusal> {
        let mut spaces: BTreeMap<String, SpaceRights> = BTreeMap::new();
        for wish in wishes.spaces {
            let share = Share {
                prefix: wish.prefix.clone(),
                access: wish.access,
            };
            let (home, held) = match self.spaces.get(&wish.space) {
                Some(mine) => (mine.home, mine.shares.iter().any(|s| s.covers(&share))),
                None => (false, self.run_spaces),
            };
            if !held {
                let ro = if wish.access == Access::Read { ":ro" } else { "" };
                return Err(match super::right_to(&wish.space, wish.access) {
                    Some(right) => missing(wishes, right),
                    None => {
                        let shown = format!("blackboard:{}{ro}", text::line(&wish.space, 64));
                        not_held(wishes, &shown, None, Some(super::UNNAMEABLE.to_owned()))
                    }
                });
            }
            let none = SpaceRights {
                home,
                shares: Vec::new(),
            };
            spaces.entry(wish.space.clone()).or_insert(none).shares.push(share);
        }
        Ok(spaces)
    }

    fn child_folders<'g>(
        &self,
        wishes: &Wishes<'_>,
        grants: impl Iterator<Item = &'g Given<'g>>,
    ) -> Result<BTreeMap<String, FolderGrant>, Refusal> {
        let mut folders = BTreeMap::new();
        for given in grants {
            let folder = self.folder(wishes, given)?;
            let name = folder.name.clone();
            if folders.insert(name.clone(), folder).is_some() {
                return Err(Refusal::invalid(format!("Two folders would be /{name} for the child.")));
            }
        }
        Ok(folders)
    }

    /// A folder at or below one that this has: `[NAME=]DIR[:rw]`, where `DIR` is as this sees it (`/papers/a`) or as the operator does.
    /// Whatever lies outside is answered alike, be it there or not.
    fn folder(&self, wishes: &Wishes<'_>, given: &Given<'_>) -> Result<FolderGrant, Refusal> {
        let rest = given.what.unwrap_or_default();
        let (rest, access) = match rest.strip_suffix(":rw") {
            Some(rest) => (rest, Access::Write),
            None => (rest.strip_suffix(":ro").unwrap_or(rest), Access::Read),
        };
        let (name, path) = match rest.split_once('=') {
            Some((name, path)) if is_name(name) => (Some(name), path),
            _ => (None, rest),
        };
        let Some((dir, holder)) = self.held(path, wishes.cwd) else {
            let why = format!("{} holds no such folder", text::line(wishes.parent, 64));
            return Err(not_held(wishes, given.text, None, Some(why)));
        };
        if access > holder.access {
            // Under its own name: that by which a guest sees it is no operator's.
            let writable = Grant::Fs(FolderGrant {
                access,
                ..holder.clone()
            });
            return Err(not_held(wishes, given.text, Some(writable.to_string()), None));
        }
        let own = self.folders.values().find(|f| f.dir == dir).map(|f| f.name.clone());
        // All but the root of all has one, and that is never granted.
        let last = || dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let name = name.map(str::to_owned).or(own).unwrap_or_else(last);
        Ok(FolderGrant { name, dir, access })
    }

    /// The folder at a path, and the one that has it in it. Links are resolved inside a folder that is held alone, and must not lead out of it.
    fn held(&self, path: &str, cwd: &Path) -> Option<(PathBuf, &FolderGrant)> {
        let dir = self.as_seen(path).or_else(|| plain(&cwd.join(path)))?;
        self.holder(&dir)?;
        let dir = dir.canonicalize().ok()?;
        let holder = self.holder(&dir)?;
        // The child's rights are recorded as text.
        (dir.is_dir() && dir.to_str().is_some()).then_some((dir, holder))
    }

    /// A path by the names under which guests see folders.
    fn as_seen(&self, path: &str) -> Option<PathBuf> {
        let (name, rest) = path.strip_prefix('/')?.split_once('/').unwrap_or((&path[1..], ""));
        let folder = self.folders.get(name)?;
        plain(&folder.dir.join(rest))
    }

    /// The folder that is held and has this one in it: of several the one that may be written, then the innermost.
    fn holder(&self, dir: &Path) -> Option<&FolderGrant> {
        let held = self.folders.values().filter(|folder| dir.starts_with(&folder.dir));
        held.max_by_key(|folder| (folder.access, folder.dir.components().count()))
    }

    fn child_net<'g>(
        &self,
        wishes: &Wishes<'_>,
        grants: impl Iterator<Item = &'g Given<'g>>,
    ) -> Result<BTreeSet<NetRule>, Refusal> {
        let mut net = BTreeSet::new();
        for given in grants {
            let rule: NetRule = given
                .what
                .unwrap_or_default()
                .parse()
                .map_err(|e| Refusal::invalid(format!("The grant {}: {e}.", text::line(given.text, 100))))?;
            if !self.net.iter().any(|held| rule.within(held)) {
                return Err(missing(wishes, format!("net:{rule}")));
            }
            net.insert(rule);
        }
        Ok(net)
    }

    fn child_secrets<'g>(
        &self,
        wishes: &Wishes<'_>,
        grants: impl Iterator<Item = &'g Given<'g>>,
    ) -> Result<BTreeSet<SecretGrant>, Refusal> {
        let mut secrets = BTreeSet::new();
        for given in grants {
            let secret = SecretGrant::parse(given.what.unwrap_or_default())
                .map_err(|e| Refusal::invalid(format!("The grant {}: {e}.", text::line(given.text, 100))))?;
            if !self.secrets.iter().any(|held| secret.within(held)) {
                return Err(missing(wishes, format!("secret:{secret}")));
            }
            secrets.insert(secret);
        }
        Ok(secrets)
    }

    fn child_models<'g>(
        &self,
        wishes: &Wishes<'_>,
        grants: impl Iterator<Item = &'g Given<'g>>,
    ) -> Result<Models, Refusal> {
        let mut models = Models::default();
        for given in grants {
            match given.what {
                None if self.llm.default => models.default = true,
                Some(alias) if self.llm.aliases.contains(alias) => {
                    models.aliases.insert(alias.to_owned());
                }
                None => return Err(missing(wishes, "llm".to_owned())),
                Some(alias) => return Err(missing(wishes, format!("llm:{alias}"))),
            }
        }
        Ok(models)
    }
}

/// A grant as a child's spec writes it.
struct Given<'a> {
    text: &'a str,
    kind: Kind,
    /// What follows the colon.
    what: Option<&'a str>,
}

impl<'a> Given<'a> {
    fn parse(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > GRANT {
            let (bytes, shown) = (text.len(), text::line(text, 100));
            return Err(Refusal::invalid(format!(
                "A grant of the child has {bytes} bytes; {GRANT} are the most: {shown}."
            )));
        }
        let (kind, what) = text.split_once(':').map_or((text, None), |(kind, what)| {
            (kind, Some(what).filter(|w| !w.is_empty()))
        });
        let kind = kind
            .parse()
            .map_err(|e: crate::plugin::grant::GrantError| Refusal::invalid(format!("A grant of the child: {e}.")))?;
        Ok(Self { text, kind, what })
    }
}

/// Delegation and lessons can only be taken away, or named as they are.
fn taken<'g>(mut given: impl Iterator<Item = &'g Given<'g>>, held: bool) -> Result<bool, Refusal> {
    match given.next() {
        None => Ok(false),
        Some(_) if held => Ok(true),
        Some(given) => {
            let words = format!(
                "A child may not be given {}: its parent has it not.",
                text::line(given.text, 100)
            );
            Err(Refusal::denied(words).about(not_given(given.kind.name())))
        }
    }
}

/// What the parent does not hold itself, with the flag that would allow it.
fn missing(wishes: &Wishes<'_>, right: String) -> Refusal {
    let offer = remedy::offer(Some(&right));
    let refusal = not_held(wishes, &right.clone(), Some(right), None);
    Refusal {
        message: refusal.message + &offer,
        ..refusal
    }
}

/// The same where what is asked for is no flag's: whether one helps is told beside it.
fn not_held(wishes: &Wishes<'_>, grant: &str, right: Option<String>, why: Option<String>) -> Refusal {
    let (parent, grant) = (text::line(wishes.parent, 64), text::line(grant, 200));
    let words = format!("{parent} may not give {grant} to a child: it does not hold that itself");
    Refusal::denied(words).about(Lack {
        right,
        why,
        ..not_given(&grant)
    })
}

fn not_given(right: &str) -> Lack {
    Lack {
        what: format!("give {right} to a child"),
        target: right.to_owned(),
        right: Some(right.to_owned()),
        why: None,
    }
}

fn is_name(name: &str) -> bool {
    let good = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    good && !name.is_empty()
}

/// The path without `.` and `..`, by its text alone; none where it climbs above its root.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !out.pop() {
                    return None;
                }
            }
            other => out.push(other),
        }
    }
    Some(out)
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::super::tests::{all, folder};
    use super::*;
    use crate::error::RefusalKind;
    use crate::plugin::grant::Grant;

    fn wishes<'a>(spaces: &'a [SpaceWish], grants: &'a [String]) -> Wishes<'a> {
        Wishes {
            parent: "boss",
            spaces,
            grants,
            cwd: Path::new("/nowhere"),
        }
    }

    fn grants(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|t| (*t).to_owned()).collect()
    }

    fn share(space: &str, prefix: &str, access: Access) -> SpaceWish {
        SpaceWish {
            space: space.to_owned(),
            prefix: prefix.to_owned(),
            access,
        }
    }

    fn parent(grants: Vec<Grant>) -> Rights {
        Rights::root("boss", &all(grants), &[], None).expect("rights")
    }

    #[test]
    fn folders_are_named_as_seen_or_as_granted_and_never_leave_what_is_held() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a path");
        std::fs::create_dir_all(root.join("papers/a")).expect("made");
        std::fs::create_dir_all(root.join("secret")).expect("made");
        std::os::unix::fs::symlink(root.join("secret"), root.join("papers/out")).expect("linked");
        let odd = root.join(OsStr::from_bytes(b"papers/\xff"));
        std::fs::create_dir_all(odd.join("below")).expect("made");
        std::os::unix::fs::symlink(&odd, root.join("papers/odd")).expect("linked");
        let papers = root.join("papers").display().to_string();
        let boss = parent(vec![folder("papers", &papers, Access::Read)]);
        let child = |grant: String| {
            let grants = vec![grant];
            let wishes = Wishes {
                cwd: &root,
                ..wishes(&[], &grants)
            };
            boss.for_child(&wishes)
        };
        for good in ["fs:/papers/a", "fs:./papers/a", "fs:x=papers", "fs:papers/../papers/a"] {
            let rights = child(good.to_owned()).expect(good);
            assert_eq!(rights.folders().len(), 1, "{good}");
            assert!(rights.folders()[0].dir.starts_with(root.join("papers")));
        }
        for bad in [
            "fs:./secret",
            "fs:/papers/../secret",
            "fs:/papers/out",
            "fs:/papers/odd",
            "fs:x=/papers/odd/below",
            "fs:/",
            "fs:/etc",
            "fs:papers:rw",
            "fs:./nothing",
        ] {
            let refusal = child(bad.to_owned()).expect_err(bad);
            assert_eq!(refusal.kind, RefusalKind::Denied, "{bad}");
            assert!(refusal.message.contains(bad), "{refusal}");
        }
        assert!(child("fs:none".to_owned()).expect("rights").folders().is_empty());
        assert_eq!(
            child("net:none".to_owned()).expect("rights").folders().len(),
            1,
            "as the parent's"
        );
    }

    #[test]
    fn a_grant_is_as_long_as_a_path_may_be() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("a path");
        let part = "p".repeat(200);
        let deep = root.join([part.as_str(); 15].join("/"));
        std::fs::create_dir_all(&deep).expect("made");
        let boss = parent(vec![folder("root", &root.display().to_string(), Access::Read)]);
        let child = |grant: String| boss.for_child(&wishes(&[], &[grant]));
        let rights = child(format!("fs:{}={}", "n".repeat(200), deep.display())).expect("a long path");
        assert_eq!(rights.folders()[0].dir, deep);
        let long = |bytes: usize| "fs:/".to_owned() + &"a".repeat(bytes - 4);
        let refusal = child(long(GRANT)).expect_err("no such folder");
        assert_eq!(refusal.kind, RefusalKind::Denied, "{refusal}");
        for grant in [long(GRANT + 1), "net:".to_owned() + &",".repeat(1 << 20) + "@x"] {
            let refusal = child(grant).expect_err("too long");
            assert_eq!(refusal.kind, RefusalKind::InvalidInput, "{refusal}");
            let said = &refusal.message;
            assert!(said.contains("4608 are the most") && said.len() < 300, "{said}");
        }
    }

    #[test]
    fn what_the_parent_has_not_is_named() {
        let boss = parent(vec![Grant::Net("GET@x.org".parse().expect("a rule"))]);
        for (grant, kind) in [
            ("net:x.org", RefusalKind::Denied),
            ("net:y.org", RefusalKind::Denied),
            ("llm:fast", RefusalKind::Denied),
            ("secret:k@x.org", RefusalKind::Denied),
            ("secret:k", RefusalKind::InvalidInput),
            ("terminal:sh", RefusalKind::Denied),
            ("moon:dark", RefusalKind::InvalidInput),
            ("blackboard:notes", RefusalKind::InvalidInput),
        ] {
            let given = grants(&[grant]);
            let refusal = boss.for_child(&wishes(&[], &given)).expect_err(grant);
            assert_eq!(refusal.kind, kind, "{grant}: {refusal}");
        }
        let given = grants(&["net:GET@x.org", "delegation:none", "lessons"]);
        let child = boss.for_child(&wishes(&[], &given)).expect("rights");
        assert!(child.may_delegate("c").is_err() && child.may_lessons("c").is_ok());
    }

    #[test]
    fn a_child_gets_secrets_of_its_parents_or_fewer() {
        let boss = parent(vec![Grant::Secret(SecretGrant::parse("k@*.x.org").expect("a secret"))]);
        let child = |texts: &[&str]| boss.for_child(&wishes(&[], &grants(texts)));
        let held = |rights: Rights| rights.secrets().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(held(child(&[]).expect("rights")), ["k@*.x.org"], "as the parent's");
        assert_eq!(held(child(&["secret:k@a.x.org"]).expect("rights")), ["k@a.x.org"]);
        assert!(held(child(&["secret:none"]).expect("rights")).is_empty());
        for more in ["secret:l@a.x.org", "secret:k@x.org", "secret:k@a.x.org:81"] {
            let refusal = child(&[more]).expect_err(more);
            assert_eq!(refusal.kind, RefusalKind::Denied, "{refusal}");
        }
    }

    #[test]
    fn a_child_opens_only_what_it_was_given() {
        let boss = parent(Vec::new());
        let spaces = [share("notes", "a", Access::Write)];
        let child = boss.for_child(&wishes(&spaces, &[])).expect("rights").with_spill("1");
        assert!(child.may_entry("c", "notes", "a/1", Access::Write).is_ok());
        assert!(child.may_entry("c", "notes", "b", Access::Read).is_err());
        assert!(child.may_open("c", "other").is_err());
        assert!(child.may_entry("c", "spill", "1/7/0001", Access::Read).is_ok());
        assert!(child.may_entry("c", "spill", "2/7/0001", Access::Read).is_err());
        assert!(child.may_entry("c", "spill", "1/7/0001", Access::Write).is_err());
        let wider = [share("notes", "", Access::Read)];
        let refusal = child.for_child(&wishes(&wider, &[])).expect_err("wider");
        assert!(refusal.message.contains("blackboard:notes"), "{refusal}");
    }
}
