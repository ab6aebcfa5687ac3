//! Keys are known by their shape.

use super::*;

fn redact(text: &str) -> String {
    let secrets = Secrets::none();
    let (once, _) = secrets.redact_counted(text, 0);
    assert!(secrets.is_clean(&once), "{once}");
    once
}

#[test]
fn each_shape_is_redacted() {
    let alnum = "0a1B2c3D4e5F6g7H8i9J".repeat(3);
    for (head, kind) in [
        ("sk-", "openai key"),
        ("sk-proj-", "openai key"),
        ("sk-ant-api03-", "anthropic key"),
        ("ghp_", "github token"),
        ("gho_", "github token"),
        ("ghu_", "github token"),
        ("ghs_", "github token"),
        ("ghr_", "github token"),
        ("github_pat_", "github token"),
        ("AIza", "google key"),
        ("xoxa-", "slack token"),
        ("xoxb-", "slack token"),
        ("xoxp-", "slack token"),
        ("xoxr-", "slack token"),
        ("xoxs-", "slack token"),
        ("sk_live_", "stripe key"),
        ("rk_live_", "stripe key"),
        ("npm_", "npm token"),
        ("pypi-AgEIcHlwaS5vcmc", "pypi token"),
        ("hf_", "hugging face token"),
        ("glpat-", "gitlab token"),
        ("AKIAIOSFODNN7EXAMPLE", "aws key id"),
        ("ASIAIOSFODNN7EXAMPLE", "aws key id"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.", "jwt"),
    ] {
        let expected = format!("key=\"[redacted {kind}]\", é");
        assert_eq!(redact(&format!("key=\"{head}{alnum}\", é")), expected, "{head}");
        let long = alnum.repeat(5_000);
        assert_eq!(redact(&format!("key=\"{head}{long}\", é")), expected, "{head}, long");
        assert_eq!(
            redact(&format!("{head}{alnum}")),
            format!("[redacted {kind}]"),
            "{head}, alone"
        );
    }
}

#[test]
fn what_only_looks_like_a_key_stays() {
    for text in [
        "risk-adjusted-return-on-capital-2024 task-0123456789abcdef0123456789abcdef disk-ant-0123456789012345678",
        "sk-learn-compatible-estimators and sk-",
        "ghp_short AKIAshort AKIA0123456789 AIza hf_hub_download npm_config_registry npm_package_name",
        "eyJhbGciOiJIUzI1NiJ9 eyJ.eyJ",
        "https://example.org:8080/a@b?c:d@e mailto:a@b ssh://git@host http://[::1]:80/",
        "Authorization: Digest abcd; bearer tokens; Authorization: Bearer <token>; the authorization basics here",
        "-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----",
        "pypi-some-package-with-a-very-long-name xoxb-short glpat-short",
    ] {
        assert!(Secrets::none().is_clean(text), "{}", redact(text));
    }
}

#[test]
fn a_key_after_an_escape_is_found() {
    let key = "sk-0123456789abcdef0123456789abcdef";
    for before in ["\\n", "\\r", "%3D", "\\u003d", "é", "=", "-", "/"] {
        assert_eq!(
            redact(&format!("a{before}{key}")),
            format!("a{before}[redacted openai key]")
        );
    }
}

#[test]
fn headers_and_urls_keep_what_is_no_secret() {
    for (text, expected) in [
        (
            "-H 'authorization: bearer abc.def' x",
            "-H 'authorization: bearer [redacted authorization]' x",
        ),
        (
            r#"{"Authorization": "Basic dTpw"}"#,
            r#"{"Authorization": "Basic [redacted authorization]"}"#,
        ),
        (
            "git clone https://me:pw@host/x.git",
            "git clone https://[redacted credentials]@host/x.git",
        ),
        (
            "postgres://u:p@ss@db:5432/x",
            "postgres://[redacted credentials]@db:5432/x",
        ),
        (r"https:\/\/u:p@h\/x", r"https:\/\/[redacted credentials]@h\/x"),
    ] {
        assert_eq!(redact(text), expected);
    }
    let long = "v".repeat(100_000);
    assert_eq!(
        redact(&format!("Authorization: Bearer {long} x")),
        "Authorization: Bearer [redacted authorization] x"
    );
}

#[test]
fn a_private_key_is_redacted_however_long() {
    for lines in [1, 50, 20_000] {
        let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7\n".repeat(lines);
        for (kind, header) in [("RSA ", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES, (é) [x]\n\n"), ("", "")] {
            let text =
                format!("a\n-----BEGIN {kind}PRIVATE KEY-----\n{header}{body}-----END {kind}PRIVATE KEY-----\nb");
            assert_eq!(redact(&text), "a\n[redacted private key]\nb");
            let json = format!("{{\"key\": \"{}\"}}", text.replace('\n', "\\n"));
            assert_eq!(redact(&json), "{\"key\": \"a\\n[redacted private key]\\nb\"}");
            let quoted = text.replace('\n', "\r\n> ");
            assert_eq!(redact(&quoted), "a\n> [redacted private key]\n> b");
        }
    }
    assert_eq!(redact("-----BEGIN PRIVATE KEY-----\nMIIE"), "[redacted private key]");
}

#[test]
fn stretches_that_overlap_are_one_redaction() {
    let secrets = sample::secrets();
    assert_eq!(secrets.redact("hunter2hunter2hunter2hunter2"), "[secret PLAIN]");
    assert_eq!(secrets.redact("hunter2hunter2sk-x"), "[secret PLAIN]x");
    assert_eq!(secrets.redact("sk-0123456789abcdef0123456789"), "[secret KEY]");
    assert_eq!(secrets.redact("q7#zq7#z"), "[secret SHORT][secret SHORT]");
    assert_eq!(
        secrets.redact("http://me:hunter2hunter2@h"),
        "http://[redacted credentials]@h"
    );
    let pem = "ghp_0123456789abcdefghij-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----";
    assert_eq!(secrets.redact(pem), "[redacted github token]");
}
