//! Reads what is granted: a grant that this host can give, and has the thing for. Who takes a flag and who offers one ask the same.

use std::collections::BTreeSet;

use crate::plugin::grant::{Allowed, GivenBy, Grant, GrantContext, GrantError, Kind, SecretGrant};
use crate::plugin::manifest::Wanted;
use crate::secret::{Secret, SecretFile};
use crate::store::SPILL_SPACE;
use crate::text;

/// That no program is started for a plugin.
const NO_TERMINAL: &str = "this version of the host has no terminal";

/// What grants are read with.
#[derive(Debug, Clone)]
pub struct GrantReader {
    context: GrantContext,
    aliases: BTreeSet<String>,
    secrets: SecretFile,
}

impl GrantReader {
    /// With the names of the models that are configured, and the file of the operator's secrets.
    pub fn new(context: GrantContext, aliases: BTreeSet<String>, secrets: SecretFile) -> Self {
        Self {
            context,
            aliases,
            secrets,
        }
    }

    /// Where the paths of grants start, and what may never be granted.
    pub fn context(&self) -> &GrantContext {
        &self.context
    }

    /// Reads `[PLUGIN=]GRANT`, which this host has to be able to give.
    ///
    /// # Errors
    /// As [`Allowed::parse`]; or there is no such model, no such secret, or nothing of the kind.
    pub fn parse(&self, text: &str, by: GivenBy) -> Result<Allowed, GrantError> {
        let allowed = Allowed::parse(text, by, &self.context)?;
        self.can_give(&allowed.grant)?;
        Ok(allowed)
    }

    /// The flag that allows what a manifest wants, with a place for what only the operator knows.
    ///
    /// # Errors
    /// It would be refused.
    pub fn flag(&self, wanted: &Wanted) -> Result<String, GrantError> {
        let (kind, detail) = (wanted.kind, wanted.detail.as_deref());
        match (kind, detail) {
            (Kind::Terminal, _) => self.can_give(&Grant::Terminal(detail.unwrap_or("PROGRAM").to_owned()))?,
            // There is nothing yet that could be refused.
            (Kind::Fs | Kind::Delegation | Kind::Lessons, _) | (_, None) => {}
            _ => drop(self.parse(&wanted.to_string(), GivenBy::Flag)?),
        }
        Ok(wanted.flag())
    }

    fn can_give(&self, grant: &Grant) -> Result<(), GrantError> {
        let refused = |what: String| Err(GrantError::new(&grant.to_string(), what));
        match grant {
            Grant::Secret(secret) => match self.secrets.read() {
                Ok(secrets) => set(secret, &secrets).map(drop),
                Err(error) => refused(error.to_string()),
            },
            Grant::Terminal(_) => refused(NO_TERMINAL.to_owned()),
            Grant::Blackboard { name, .. } if name == SPILL_SPACE => {
                refused("each run keeps there what was too long for its readers; choose another name".to_owned())
            }
            Grant::Llm(Some(alias)) if !self.aliases.contains(alias) => {
                let near = text::nearest(alias, self.aliases.iter().map(String::as_str));
                let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
                let alias = text::line(alias, 64);
                refused(format!(
                    "there is no alias {alias} (aliases.{alias} in the configuration){hint}"
                ))
            }
            _ => Ok(()),
        }
    }
}

/// The secret that is granted, which has to be among those that are set.
///
/// # Errors
/// It is not.
pub fn set<'a>(granted: &SecretGrant, secrets: &'a [Secret]) -> Result<&'a Secret, GrantError> {
    let name = &granted.name;
    secrets.iter().find(|secret| secret.name == *name).ok_or_else(|| {
        let what = format!("there is no secret {name}; set it with: hermes-host secret set {name}");
        GrantError::new(&Grant::Secret(granted.clone()).to_string(), what)
    })
}
