//! `lessons`: what earlier runs taught. No lesson has been adopted by this version of the host, so recalling finds none.

use serde::Serialize;

use crate::bindings::{lessons, types};
use crate::error::{Refusal, RefusalKind};
use crate::interfaces::State;
use crate::plugin::grant::Kind;
use crate::session::audit::{ToldBy, Use, Way};
use crate::session::call::{Call, Look, Missed};
use crate::session::guest::Guest;

#[derive(Serialize)]
struct Recall {
    layer: types::LessonLayer,
    query: String,
    limit: u32,
}

impl Call for Recall {
    const NAME: &'static str = "lessons.recall";

    fn grant(&self, guest: &Guest) -> Result<(), Refusal> {
        guest.rights.may_lessons(&guest.plugin)
    }

    fn used(&self, _guest: &Guest) -> Option<Use<'_>> {
        Some(Use {
            way: Way::Read,
            grant: Kind::Lessons.name().into(),
            target: match self.layer {
                types::LessonLayer::Task => "task",
                types::LessonLayer::Delegation => "delegation",
            }
            .into(),
            told_by: ToldBy::Audit,
        })
    }
}

impl Look for Recall {
    type Answer = Vec<types::Lesson>;

    async fn look(&self, _guest: &Guest) -> Result<Vec<types::Lesson>, Missed> {
        Ok(Vec::new())
    }
}

#[derive(Serialize)]
struct Propose {
    layer: types::LessonLayer,
    text: String,
    evidence: String,
}

impl Call for Propose {
    const NAME: &'static str = "lessons.propose";

    fn grant(&self, guest: &Guest) -> Result<(), Refusal> {
        guest.rights.may_lessons(&guest.plugin)
    }
}

impl Look for Propose {
    type Answer = ();

    async fn look(&self, _guest: &Guest) -> Result<(), Missed> {
        let message = "This version of the host keeps no lessons; the proposal is dropped.";
        Err(Refusal::new(RefusalKind::Other("unsupported".to_owned()), message).into())
    }
}

impl lessons::Host for State {
    async fn recall(
        &mut self,
        layer: types::LessonLayer,
        query: String,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<types::Lesson>, types::Error>> {
        Ok(self
            .guest
            .look(&Recall { layer, query, limit })
            .await?
            .map_err(Into::into))
    }

    async fn propose(
        &mut self,
        layer: types::LessonLayer,
        text: String,
        evidence: String,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        Ok(self
            .guest
            .look(&Propose { layer, text, evidence })
            .await?
            .map_err(Into::into))
    }
}
