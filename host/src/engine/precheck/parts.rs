//! What a component is made of, counted as its bytes are read: what makes the checks and the compiler take long is refused before either begins.

use wasmparser::{ComponentType, ComponentTypeDeclaration, CoreType, FunctionBody, InstanceTypeDeclaration, Payload};

use super::LoadError;
use crate::limits::{Limits, Unit};

/// Bytes of a page of a memory.
const PAGE: u64 = 64 << 10;

/// How much of everything there was so far.
#[derive(Debug, Default)]
pub(super) struct Parts {
    functions: u64,
    modules: u64,
    components: u64,
    definitions: u64,
    depth: u64,
    /// Of the module that begins with most of them.
    memory: u64,
    /// The same.
    table_elements: u64,
}

impl Parts {
    /// Whether what comes next belongs to the component itself, and not to a module or component inside.
    pub(super) fn is_outermost(&self) -> bool {
        self.depth == 0
    }

    /// Counts one more part.
    ///
    /// # Errors
    /// There is more of it than a component may have. What can't be read is found when everything is validated, and said better.
    pub(super) fn count(&mut self, part: &Payload, limits: &Limits) -> Result<(), LoadError> {
        let more = match part {
            Payload::ModuleSection { .. } => {
                self.modules += 1;
                few(self.modules, limits.parts_modules, "modules", "parts.modules")?;
                return self.deeper(limits);
            }
            Payload::ComponentSection { .. } => {
                self.components += 1;
                let inside = "components inside it";
                few(self.components, limits.parts_components, inside, "parts.components")?;
                return self.deeper(limits);
            }
            Payload::End(_) => {
                self.depth = self.depth.saturating_sub(1);
                return Ok(());
            }
            Payload::CodeSectionStart { count, .. } => {
                self.functions += u64::from(*count);
                return few(self.functions, limits.parts_functions, "functions", "parts.functions");
            }
            Payload::CodeSectionEntry(body) => return function(body, limits),
            Payload::MemorySection(section) => {
                let all = section.clone().into_iter().flatten();
                let bytes = all.map(|memory| memory.initial.saturating_mul(PAGE));
                self.memory = self.memory.max(bytes.fold(0, u64::saturating_add));
                return Ok(());
            }
            Payload::TableSection(section) => {
                let elements = section.clone().into_iter().flatten().map(|table| table.ty.initial);
                self.table_elements = self.table_elements.max(elements.fold(0, u64::saturating_add));
                return Ok(());
            }
            Payload::TypeSection(section) => section.count(),
            Payload::ImportSection(section) => section.count(),
            Payload::ExportSection(section) => section.count(),
            Payload::InstanceSection(section) => section.count(),
            Payload::CoreTypeSection(section) => {
                let mut types = section.clone().into_iter().map_while(Result::ok);
                return types.try_for_each(|core| self.define(in_core(&core), limits));
            }
            Payload::ComponentTypeSection(section) => {
                let mut types = section.clone().into_iter().map_while(Result::ok);
                return types.try_for_each(|defined| self.define(in_component(&defined), limits));
            }
            Payload::ComponentInstanceSection(section) => section.count(),
            Payload::ComponentAliasSection(section) => section.count(),
            Payload::ComponentCanonicalSection(section) => section.count(),
            Payload::ComponentImportSection(section) => section.count(),
            Payload::ComponentExportSection(section) => section.count(),
            _ => return Ok(()),
        };
        self.define(u64::from(more), limits)
    }

    fn define(&mut self, more: u64, limits: &Limits) -> Result<(), LoadError> {
        self.definitions += more;
        let what = "types, imports, exports, instances, aliases and canonical functions";
        few(self.definitions, limits.parts_definitions, what, "parts.definitions")
    }

    fn deeper(&mut self, limits: &Limits) -> Result<(), LoadError> {
        self.depth += 1;
        few(
            self.depth,
            limits.parts_depth,
            "levels of modules and components inside one another",
            "parts.depth",
        )
    }

    /// No module has more memory or larger tables to begin with than all of an instance together may have. What several modules need together shows when
    /// they are instantiated: how often each is, is not looked into.
    ///
    /// # Errors
    /// One has more.
    pub(super) fn fit(&self, limits: &Limits) -> Result<(), LoadError> {
        let all = [
            ("bytes of memory", self.memory, limits.memory, "memory"),
            (
                "table elements",
                self.table_elements,
                limits.table_elements,
                "table_elements",
            ),
        ];
        match all.into_iter().find(|(_, needs, limit, _)| needs > limit) {
            Some((what, needs, limit, key)) => Err(LoadError::StartsTooLarge {
                what,
                needs,
                limit,
                key,
            }),
            None => Ok(()),
        }
    }
}

/// A type with all that is declared in it.
fn in_component(defined: &ComponentType<'_>) -> u64 {
    let inside: u64 = match defined {
        ComponentType::Component(all) => all.iter().map(in_component_type).sum(),
        ComponentType::Instance(all) => all.iter().map(in_instance_type).sum(),
        _ => 0,
    };
    1 + inside
}

fn in_component_type(declared: &ComponentTypeDeclaration<'_>) -> u64 {
    match declared {
        ComponentTypeDeclaration::CoreType(core) => in_core(core),
        ComponentTypeDeclaration::Type(defined) => in_component(defined),
        _ => 1,
    }
}

fn in_instance_type(declared: &InstanceTypeDeclaration<'_>) -> u64 {
    match declared {
        InstanceTypeDeclaration::CoreType(core) => in_core(core),
        InstanceTypeDeclaration::Type(defined) => in_component(defined),
        _ => 1,
    }
}

fn in_core(core: &CoreType<'_>) -> u64 {
    match core {
        CoreType::Module(all) => 1 + all.len() as u64,
        CoreType::Rec(_) => 1,
    }
}

/// The compiler's time and memory rise faster than the size of one function, and with its variables times its branches.
fn function(body: &FunctionBody, limits: &Limits) -> Result<(), LoadError> {
    let bytes = body.range().len() as u64;
    if bytes > limits.parts_function_bytes {
        return Err(LoadError::TooMany {
            what: "bytes in one function",
            has: bytes,
            limit: limits.parts_function_bytes,
            unit: Unit::Bytes,
            key: "parts.function_bytes",
        });
    }
    let mut locals = 0u64;
    for (count, _) in body.get_locals_reader().into_iter().flatten().flatten() {
        locals += u64::from(count);
        few(
            locals,
            limits.parts_locals,
            "local variables in one function",
            "parts.locals",
        )?;
    }
    Ok(())
}

fn few(has: u64, limit: u64, what: &'static str, key: &'static str) -> Result<(), LoadError> {
    if has <= limit {
        return Ok(());
    }
    Err(LoadError::TooMany {
        what,
        has,
        limit,
        unit: Unit::Count,
        key,
    })
}
