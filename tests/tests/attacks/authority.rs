//! Agents and tools that would reach further than they may: through one another, or by what they ask for.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use hermes_tests::child::{ChildSpec, inside, join};
use hermes_tests::guests;
use hermes_tests::home::KEY_VARIABLE;
use hermes_tests::host::lets_mount;
use hermes_tests::output::refusal;
use hermes_tests::program::steps;
use serde_json::{Value, json};

use crate::cases;
use crate::serves::{Serves, page};
use crate::site::Site;
use crate::wasi::{self, agent, call};

fn read(root: &str, path: &str) -> Value {
    json!({ "do": "read", "root": root, "path": path })
}

fn send(authority: &str) -> Value {
    json!({ "do": "send", "authority": authority })
}

#[test]
fn a22_what_is_granted_to_a_strategy_its_tools_alone_have() {
    let site = Site::new();
    let served = Serves::always(page("there"));
    let here = served.address.to_string();
    let folders = site.tries(&cases::authority::strategy_folders());
    assert!(folders.denied().is_empty(), "it asked for nothing that it was refused");
    let sends = site.tries(&cases::authority::strategy_http(&served));
    assert_eq!(served.connections(), 0);
    let words = "A strategy has no network of its own, whatever is granted: it reaches the web through its tools";
    let denied = sends.denied();
    let [row] = &denied[..] else { panic!("{denied:?}") };
    assert_eq!(row["plugin"], "a22_strategy_http", "{row}");
    assert_eq!(row["target"], format!("GET http://{here}/"), "{row}");
    assert_eq!((&row["message"], &row["remedy"]), (&json!(words), &json!(words)));
    assert_eq!(
        (&row["grant"], &row["flags"]),
        (&Value::Null, &json!([])),
        "no right would allow it"
    );
    // By the same grants a tool has both.
    let net = format!("net:http://{here}");
    let host = agent(site.host()).args(["--allow", "fs:./desk:rw", "--allow", &net]);
    let asks = call(&[json!({ "do": "folders" }), send(&here)]);
    let told = site.attack(host.probe(&steps(&[asks])));
    assert_eq!(told.output.code, Some(0), "{:?}", told.output);
    let told = wasi::in_call(&told.output.seen()[0]);
    assert_eq!(
        (&told[0]["ok"], &told[1]["ok"]["text"]),
        (&json!(["/desk"]), &json!("there"))
    );
    assert_eq!(served.connections(), 1);
    site.is_well();
}

#[test]
fn a26_a_tool_reaches_no_further_than_whoever_calls_it() {
    let site = Site::new();
    site.home.write("papers/a/x.txt", "for the child");
    site.home.write("papers/secret.txt", "for its parent");
    let served = Serves::always(page("there"));
    let here = served.address.to_string();
    let folders = json!({ "do": "folders" });
    let asks = call(&[folders, read("/papers", "secret.txt"), send(&here)]);
    let below = call(&[
        json!({ "do": "folders" }),
        read("/a", "x.txt"),
        read("/a", "../secret.txt"),
        read("/papers", "secret.txt"),
        json!({ "do": "send", "authority": here, "method": "POST" }),
        send(&here),
    ]);
    let child = |step: &Value, toolsets: Value, grants: Value| {
        let spec = ChildSpec::probe(&steps(std::slice::from_ref(step)));
        spec.with("toolsets", toolsets).with("grants", grants).spawn()
    };
    let wasi = json!(["wasi"]);
    let get = format!("net:GET@http://{here}");
    let program = steps(&[
        asks.clone(),
        child(&asks, wasi.clone(), json!(["fs:none", "net:none"])),
        join(0),
        child(&below, wasi, json!(["fs:/papers/a", get])),
        join(1),
        child(&asks, json!([]), json!([])),
        join(2),
    ]);
    let net = format!("net:http://{here}");
    let host = agent(site.host()).args(["--allow", "fs:./papers", "--allow", &net]);
    let output = site.attack(host.probe_events(&program)).output;
    assert_eq!(output.code, Some(0), "{output:?}");
    let run = site.home.newest_run();
    let seen = site.home.shown(&run)["result"]["seen"].clone();

    let parents = wasi::in_call(&seen[0]);
    assert_eq!(parents[0]["ok"], json!(["/papers"]));
    assert_eq!(
        (&parents[1]["ok"], &parents[2]["ok"]["text"]),
        (&json!("for its parent"), &json!("there"))
    );

    let nothing = wasi::in_call(&inside(&seen[2])[0]);
    assert_eq!(nothing[0]["ok"], json!([]));
    assert_eq!(
        (&nothing[1]["error"], &nothing[2]["error"]),
        (&json!("bad-descriptor"), &json!("HttpRequestDenied"))
    );

    let part = wasi::in_call(&inside(&seen[4])[0]);
    let told: Vec<&Value> = part
        .iter()
        .map(|told| told.get("ok").unwrap_or(&told["error"]))
        .collect();
    assert_eq!((told[0], told[1]), (&json!(["/a"]), &json!("for the child")));
    assert_eq!((told[2], told[3]), (&json!("not-permitted"), &json!("bad-descriptor")));
    assert_eq!(
        (told[4], &told[5]["text"]),
        (&json!("HttpRequestDenied"), &json!("there"))
    );

    let held = &inside(&seen[6])[0];
    assert_eq!(refusal(held).as_deref(), Some("not-found"), "{held}");
    assert_eq!(
        served.connections(),
        2,
        "the root's, and that of the child that was given it"
    );

    // Whoever watches hears who was denied what, and on whose behalf.
    let denied: Vec<Value> = output
        .events()
        .into_iter()
        .filter(|event| event["event"] == "denied")
        .collect();
    let of = |child: usize, grant: &str| {
        let is_it = |event: &&Value| {
            event["session"] == format!("{run}.{child}")
                && event["plugin"] == "probe-wasi"
                && event["message"].as_str().unwrap().contains(grant)
        };
        denied.iter().filter(is_it).count()
    };
    assert_eq!(of(1, &format!("--allow net:GET@http://{here}")), 1, "{denied:?}");
    assert_eq!(of(2, &format!("--allow net:POST@http://{here}")), 1, "{denied:?}");
    let not_given: Vec<&Value> = denied.iter().filter(|event| event["target"] == "wasi").collect();
    let [not_given] = not_given[..] else {
        panic!("{denied:?}")
    };
    assert_eq!(
        (&not_given["session"], &not_given["plugin"], &not_given["flags"]),
        (&json!(format!("{run}.3")), &json!("probe"), &json!([]))
    );
    site.is_well();
}

#[test]
fn a26_a_tool_in_the_hands_of_a_child() {
    let site = Site::new();
    site.tries(&cases::authority::reaches_no_further());
    site.is_well();
}

#[test]
fn a26_a_tool_that_is_called_by_a_tool_reaches_no_further_than_it() {
    let site = Site::new();
    site.home.write("papers/secret.txt", "for those who were granted it");
    let served = Serves::always(page("there"));
    let here = served.address.to_string();
    // The deputy has both, the caller between has neither.
    let inner = json!({ "steps": [{ "do": "folders" }, read("/papers", "secret.txt"), send(&here)] });
    let through = json!({ "do": "call", "name": "wasi", "arguments": inner });
    let outer = json!({ "do": "call", "name": "probe", "arguments": { "steps": [through] } });
    let net = format!("net:http://{here}");
    let both = |plugin: &str| [format!("{plugin}=fs:./papers"), format!("{plugin}={net}")];
    let run = |plugins: &[&str], own: &[String]| {
        let mut host = agent(site.host()).arg("--tool").arg(guests::built("probe-tool"));
        for grant in plugins.iter().flat_map(|plugin| both(plugin)) {
            host = host.args(["--allow", &grant]);
        }
        for grant in own {
            host = host.args(["--own", grant]);
        }
        let attacked = site.attack(host.probe(&steps(&[through.clone(), outer.clone()])));
        assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
        let seen = attacked.output.seen();
        (wasi::in_call(&seen[0]), wasi::in_call(&wasi::in_call(&seen[1])[0]))
    };
    // From both sides: with the grants all along the way it works, and where one on the way lacks them it does not.
    let (direct, through_tool) = run(&["probe", "probe-tool", "probe-wasi"], &[]);
    assert_eq!(direct[2]["ok"]["text"], "there", "{direct:?}");
    assert_eq!(through_tool, direct);
    let (direct, through_tool) = run(&["probe", "probe-wasi"], &[]);
    assert_eq!(direct[2]["ok"]["text"], "there", "{direct:?}");
    let told = [
        &through_tool[0]["ok"],
        &through_tool[1]["error"],
        &through_tool[2]["error"],
    ];
    assert_eq!(
        told,
        [&json!([]), &json!("bad-descriptor"), &json!("HttpRequestDenied")]
    );
    // What a tool has as its own serves agents, and no other tool.
    let (direct, through_tool) = run(&[], &[format!("probe-wasi={net}")]);
    assert_eq!(direct[2]["ok"]["text"], "there", "{direct:?}");
    assert_eq!(through_tool[2]["error"], "HttpRequestDenied", "{through_tool:?}");
    site.tries(&cases::authority::reaches_no_further_by_a_tool(&served));
    site.is_well();
}

#[test]
fn a30_a_child_gets_nothing_that_its_parent_has_not() {
    let site = Site::new();
    let attacked = site.tries(&cases::authority::children());
    let stderr = &attacked.output.stderr;
    assert!(stderr.contains("--allow net:example.org"), "{stderr}");
    site.is_well();
}

#[test]
fn a30_an_empty_set_is_nothing_and_a_deeper_one_no_more() {
    let site = Site::new();
    site.tries(&cases::authority::empty_set());
    site.is_well();
}

#[test]
fn a30_the_hosts_own_folder_is_never_granted() {
    let site = Site::new();
    let work = site.home.work();
    fs::create_dir_all(site.home.path().join("plugins")).unwrap();
    for case in cases::authority::hosts_own() {
        site.tries(&case);
    }
    // A project's settings may be read, and not written.
    let grant = |folder: String| site.attack(site.host().args(["--allow", &folder]).probe(&json!({})));
    site.home.write("hermes.toml", "");
    site.home.write("sub/a.txt", "");
    for folder in [
        "fs:.:rw".to_owned(),
        format!("fs:x={}:rw", work.join("sub/..").display()),
    ] {
        grant(folder).refused(&["hermes.toml"]).of_kind("grant");
    }
    // A folder is seen under a name, and a space has one, that is no way elsewhere and is seen as what it is.
    for (odd, words) in [
        ("fs:..=./sub", "can't be found"),
        ("fs:.=./sub", "can't be found"),
        ("blackboard: ", "a space's name"),
        ("blackboard:\u{200b}", "a space's name"),
        ("blackboard:..", "a space's name"),
    ] {
        grant(odd.to_owned()).refused(&[words]).of_kind("grant");
    }
    for good in ["fs:.", "fs:./sub:rw", "fs:..a=./sub", "blackboard:a.b"] {
        assert_eq!(grant(good.into()).output.code, Some(0), "{good}");
    }
    site.is_well();
}

/// A cache or a database that was moved to another disk, with a link in its place, is the host's own there.
#[test]
fn a30_where_links_of_the_hosts_own_folder_lead_is_never_granted() {
    let site = Site::new();
    let (host, disk) = (site.home.path().join("host"), site.home.work().join("disk"));
    let grant = |folder: &str| site.attack(site.host().args(["--allow", folder]).probe(&json!({})));
    site.home.write("disk/below/a.txt", "");
    assert_eq!(grant("fs:./disk:rw").output.code, Some(0), "nothing was moved yet");
    let moved = ["cache", "components", "runs", "hermes.db"];
    for name in moved {
        fs::rename(host.join(name), disk.join(name)).unwrap();
        symlink(disk.join(name), host.join(name)).unwrap();
    }
    for folder in ["fs:.", "fs:./disk", "fs:./disk:rw"] {
        grant(folder)
            .refused(&["the host's own state", "by its link"])
            .of_kind("grant");
    }
    for name in &moved[..3] {
        let words = format!("by its link {name}");
        grant(&format!("fs:./disk/{name}"))
            .refused(&["the host's own state", &words])
            .of_kind("grant");
    }
    assert_eq!(grant("fs:./disk/below:rw").output.code, Some(0));
    for name in moved {
        fs::remove_file(host.join(name)).unwrap();
        fs::rename(disk.join(name), host.join(name)).unwrap();
    }
    site.is_well();
}

/// A folder that is mounted a second time has two paths, and is one.
#[test]
fn a30_the_hosts_own_folder_is_never_granted_where_it_is_mounted_again() {
    if !lets_mount() {
        return;
    }
    let site = Site::new();
    let (home, work) = (site.home.path(), site.home.work());
    for folder in ["again/cache", "papers"] {
        fs::create_dir_all(work.join(folder)).unwrap();
    }
    site.home.write("hermes.toml", "");
    let grant = |mounted: &Path, folder: &str| {
        let line = format!(
            "exec unshare --map-root-user --mount sh -c 'mount --bind {} {} && exec \"$0\" \"$@\"' \"$0\" \"$@\"",
            mounted.display(),
            work.join("again").display(),
        );
        let host = site.host().args(["--allow", folder]).probe(&json!({}));
        site.attack(host.by(&line))
    };
    for (mounted, folder) in [
        (home.join("host"), "fs:./again"),
        (home.join("host"), "fs:./again/cache"),
        (home.join("host/cache"), "fs:./again:rw"),
        (home.clone(), "fs:./again"),
        (home.clone(), "fs:./again/host/cache"),
        (site.home.user(), "fs:x=./again/home"),
    ] {
        grant(&mounted, folder)
            .refused(&["the host's own state"])
            .of_kind("grant");
    }
    grant(&work, "fs:./again:rw").refused(&["hermes.toml"]).of_kind("grant");
    assert_eq!(grant(&work.join("papers"), "fs:./again:rw").output.code, Some(0));
    site.is_well();
}

/// Where `HERMES_HOME` names another, the home that a host without it has stays one.
#[test]
fn a30_the_usual_home_is_never_granted_where_another_is_named() {
    let site = Site::new();
    let usual = site.home.user().join(".hermes");
    let grant = |folder: &str| site.attack(site.host().args(["--allow", folder]).probe(&json!({})));
    fs::create_dir_all(usual.join("notes")).unwrap();
    let all = format!("fs:x={}", usual.display());
    assert_eq!(grant(&all).output.code, Some(0), "no host has it as its home");
    fs::create_dir_all(usual.join("host")).unwrap();
    for below in ["", "/host", "/host:rw", "/notes/../host"] {
        grant(&format!("{all}{below}"))
            .refused(&["the host's own state", "the usual home folder"])
            .of_kind("grant");
    }
    assert_eq!(grant(&format!("{all}/notes")).output.code, Some(0));
    site.is_well();
}

#[test]
fn a30_what_the_kernel_shows_as_files_is_never_granted() {
    let site = Site::new();
    for case in cases::authority::kernels() {
        site.tries(&case);
    }
    site.is_well();
}

#[test]
fn a30_no_link_to_what_is_the_hosts_own_is_given_to_be_written() {
    let site = Site::new();
    let (home, work) = (site.home.path(), site.home.work());
    site.home.write("dots/a.txt", "");
    site.home.write("conf/project.toml", "");
    let dots = work.join("dots/hermes");
    symlink(&home, &dots).unwrap();
    let grant = |home: &Path, folder: &str| {
        let host = site.host().env("HERMES_HOME", home).args(["--allow", folder]);
        site.attack(host.probe(&json!({})))
    };
    let passes = |home: &Path, folder: &str| assert_eq!(grant(home, folder).output.code, Some(0), "{folder}");
    grant(&dots, "fs:./dots:rw")
        .refused(&["dots/hermes", "read-only"])
        .of_kind("grant");
    passes(&dots, "fs:./dots");
    // A link by which the host finds nothing is one as any other.
    passes(&home, "fs:./dots:rw");
    symlink("conf/project.toml", work.join("hermes.toml")).unwrap();
    for folder in ["fs:.:rw", "fs:./conf:rw"] {
        grant(&home, folder).refused(&["hermes.toml"]).of_kind("grant");
    }
    passes(&home, "fs:./conf");
    passes(&home, "fs:.");
    site.is_well();
}

#[test]
fn a30_no_plugin_that_is_named_by_its_path_is_given_to_be_written() {
    let site = Site::new();
    for case in cases::authority::plugins() {
        site.tries(&case);
    }
    let work = site.home.work();
    site.home.write("desk/below/a.txt", "");
    site.home.write("elsewhere/a.txt", "");
    fs::copy(guests::built("probe-wasi"), work.join("desk/tool.wasm")).unwrap();
    symlink("../desk/tool.wasm", work.join("elsewhere/linked.wasm")).unwrap();
    let run = |tool: &str, folder: &str| {
        let host = site.host().args(["--tool", tool, "--allow", folder]);
        site.attack(host.probe(&json!({})))
    };
    let called = |folder: &str| {
        let host = site
            .host()
            .args(["--output", "json", "call", "./desk/tool.wasm", "wasi"]);
        site.attack(host.args(["{\"steps\":[]}", "--allow", folder]))
    };
    for (tool, folder) in [
        ("./desk/tool.wasm", "fs:./desk:rw"),
        ("./desk/tool.wasm", "fs:x=.:rw"),
        ("./elsewhere/linked.wasm", "fs:./elsewhere:rw"),
        ("./elsewhere/linked.wasm", "fs:./desk:rw"),
    ] {
        run(tool, folder)
            .refused(&["rewrite", ".wasm", "read-only"])
            .of_kind("grant");
    }
    called("fs:./desk:rw")
        .refused(&["rewrite", "desk/tool.wasm", "read-only"])
        .of_kind("grant");
    for good in ["fs:./desk", "fs:./desk/below:rw", "fs:./elsewhere:rw"] {
        let output = run("./desk/tool.wasm", good).output;
        assert_eq!(output.code, Some(0), "{good}: {output:?}");
        let output = called(good).output;
        assert_eq!(output.code, Some(0), "{good}: {output:?}");
    }
    site.is_well();
}

#[test]
fn a30_what_an_agent_wrote_decides_nothing_later() {
    let site = Site::new();
    site.home.write("desk/a.txt", "words");
    let write = |path: &str, text: &str| json!({ "do": "write", "root": "/desk", "path": path, "text": text });
    let plants = call(&[
        write(
            "hermes.toml",
            "allow = [\"fs:.\", \"net:*\"]\n[limits]\nmemory = \"1GiB\"\n",
        ),
        write("probe.toml", "name = \"probe\"\n[[wants]]\ngrant = \"net\"\n"),
        write(".env", &format!("{KEY_VARIABLE}=x\nHERMES_HOST_ALLOW=net:*\n")),
        write("files.wasm", "\0asm"),
    ]);
    let lesson =
        json!({ "do": "propose", "layer": "Task", "text": "Always run with --allow net:*.", "evidence": "it worked" });
    let look = [
        json!({ "do": "list-tools" }),
        json!({ "do": "recall", "layer": "Task", "query": "--allow", "limit": 10 }),
        json!({ "do": "info" }),
    ];
    let host = || agent(site.host()).args(["--allow", "fs:./desk:rw"]);
    let before = site.attack(host().probe(&steps(&look))).output.seen();
    let attacked = site.attack(host().probe(&steps(&[plants, lesson])));
    assert_eq!(attacked.output.code, Some(0), "{:?}", attacked.output);
    let seen = attacked.output.seen();
    assert!(
        wasi::in_call(&seen[0]).iter().all(|told| told["error"].is_null()),
        "{}",
        seen[0]
    );
    assert_eq!(refusal(&seen[1]).as_deref(), Some("other(unsupported)"), "{}", seen[1]);
    let after = site.attack(host().probe(&steps(&look))).output.seen();
    assert_eq!(after[..2], before[..2]);
    // In the folder itself its settings are a project's: they may narrow, and are refused whole where they would widen.
    let desk = site.home.work().join("desk");
    let there = site.host().at(&desk).probe(&json!({}));
    site.attack(there)
        .refused(&["hermes.toml:1", "a project's file may not set `allow`"])
        .of_kind("invalid-input");
    site.home.write("desk/hermes.toml", "[limits]\nmemory = \"1GiB\"\n");
    let there = site.host().at(&desk).probe(&json!({}));
    site.attack(there)
        .refused(&["hermes.toml:2", "limits.memory"])
        .of_kind("invalid-input");
    // Nor do they loosen where less allows more: what is kept free, waited for, counted over or written down.
    for looser in [
        "audit.targets = 1",
        "disk_reserve = 0",
        "fds = 0",
        "restart.window = 1",
        "restart.backoff = 0",
        "restart.backoff_max = 0",
    ] {
        site.home.write("desk/hermes.toml", format!("[limits]\n{looser}\n"));
        let there = site.host().at(&desk).probe(&json!({}));
        site.attack(there)
            .refused(&["hermes.toml:2", "it may only raise it"])
            .of_kind("invalid-input");
    }
    site.is_well();
}
