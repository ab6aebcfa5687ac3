//! Every attack that is a run. One that is not named here is dead code of this suite, and a warning.

use crate::cases::{
    Case, authority, bodies, bytes, calls, computing, floods, lists, names, network, notes, orders, paths, replies,
    room, secrets, slow, streams, terminal, texts, timing, trees, values, waiting,
};
use crate::compiling;
use crate::serves::{Serves, page};

/// One of so many places where a stream may be cut is: a test of its own tries all.
const CUTS: usize = 16;

/// How many bytes one answer has that comes in chunks of a byte: each is read by itself, among all else that goes on.
const SINGLE: usize = 20;

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    // A01 to A05, A07, A09
    all.extend(computing::loops());
    all.extend(computing::foreign_calls());
    all.extend(computing::starts());
    all.extend(computing::segments());
    all.extend(computing::lengths());
    all.extend(computing::given_out_wrongly());
    all.extend(computing::bulk());
    all.extend(computing::own_calls());
    all.extend([
        computing::never_taken(),
        computing::post_return(),
        computing::leaves(),
        computing::refilled(),
    ]);
    // A06
    all.extend(waiting::agents());
    all.extend([waiting::sleeps(), waiting::standard_input(), waiting::one_another()]);
    // A08, A10, A11, A24
    all.extend(room::stacks());
    all.extend(room::measured());
    all.extend(room::initial_memory());
    all.extend(room::initial_elements());
    all.extend(room::tables());
    all.extend([room::calls_itself(), room::brackets(), room::left()]);
    // A12, A14
    all.extend(values::no_texts());
    all.extend(values::long_texts());
    all.extend(values::waits());
    all.extend(values::forged_handles());
    all.extend(values::kept_handles());
    all.extend(values::requests());
    all.extend([
        values::many_texts(),
        values::dropped_calls(),
        values::random(),
        values::timers(),
        values::huge_report(),
        values::long_grants(),
    ]);
    // A13
    all.extend(replies::to_the_last_byte());
    all.extend(replies::usage());
    all.extend([
        replies::gibibyte(),
        replies::deltas(),
        replies::calls(),
        replies::argument(),
        replies::headers(),
    ]);
    // A15
    all.extend([
        notes::to_the_last_byte(),
        notes::that_hide_something(),
        notes::of_a_file_system(),
    ]);
    // A16, A17
    all.extend(floods::streams());
    all.extend([
        floods::lines(),
        floods::line(),
        floods::answer(),
        floods::result(),
        floods::kept(),
        floods::file(),
    ]);
    // A18
    all.extend(texts::patterns());
    all.extend(texts::many_patterns());
    all.extend(texts::grown());
    all.extend(texts::schemas());
    all.extend(texts::manifests());
    all.extend(texts::endless());
    all.extend(texts::growing());
    all.extend([texts::arguments(), texts::same_arguments(), texts::result()]);
    // A19
    all.extend(compiling::too_many());
    all.push(compiling::endless());
    // A20 to A23
    all.extend(bytes::no_components());
    all.extend(bytes::cut());
    all.extend(bytes::types());
    all.extend(bytes::imports());
    all.extend(bytes::features());
    all.extend([
        bytes::names(),
        bytes::import_of_another_type(),
        authority::not_granted(),
        authority::gives_up(),
        authority::strategy_folders(),
        authority::strategy_http(&Serves::always(page("trapped"))),
    ]);
    // A24 to A27
    all.extend(names::tools());
    all.extend(names::plugins());
    all.extend([
        names::alike(),
        names::not_given(),
        paths::lead_out(),
        paths::links(),
        paths::endless(),
        paths::read_only(),
        paths::own_links(),
        authority::reaches_no_further(),
        authority::reaches_no_further_by_a_tool(&Serves::always(page("there"))),
    ]);
    // A29, A33
    all.extend([trees::nested(), trees::alive(), trees::in_all(), trees::always_fails()]);
    // A30, A32
    all.extend(authority::hosts_own());
    all.extend(authority::kernels());
    all.extend(authority::plugins());
    all.extend([
        authority::children(),
        authority::empty_set(),
        calls::of_nothing(),
        calls::of_one_id(),
    ]);
    // A31; A28 and A41 change the home, and are put in where that is.
    all.extend([orders::obeys(&Serves::always(page("thank you"))), orders::forges()]);
    // A34, A35; what must not be reached in A18 and A35 has a server of its own, and is put in where that is.
    all.extend(secrets::tells());
    let stranger = secrets::echo();
    all.push(secrets::goes_to_its_host(&secrets::owner(&stranger), &stranger));
    all.push(secrets::notations(&secrets::echo(), &stranger));
    all.extend([
        secrets::environment(),
        network::sockets(&Serves::always(page("trapped"))),
    ]);
    all.push(network::one_spelling(&Serves::always(page("reached"))));
    // A36, A37: a request in each call, as each takes its time.
    all.push(network::redirects(&Serves::always(page("trapped"))));
    all.extend([network::hops(&network::hopping()), network::credentials()]);
    let served = bodies::server();
    all.extend(bodies::cut(&served, SINGLE, 1));
    all.extend(bodies::broken(&served, 1));
    all.extend(bodies::headed(&served));
    all.push(bodies::packed(&served));
    // A38, A39
    let served = slow::server();
    all.extend(slow::waits(&served));
    all.push(slow::waits_less(&served));
    all.extend(slow::models().map(|(_, case)| case));
    all.extend(streams::cut(CUTS));
    all.extend([streams::odd_of_openai(), streams::odd_of_anthropic()]);
    // A40, A42
    all.extend(terminal::rude());
    all.extend([
        terminal::crash(),
        terminal::speaks(),
        terminal::piles(),
        timing::measures(),
        timing::forbidden(),
    ]);
    // A44
    all.extend(lists::many());
    all.extend(lists::bad_names());
    all.extend(lists::never_there());
    all.extend([lists::that_changes(), lists::describes(), lists::annotates()]);
    all
}
