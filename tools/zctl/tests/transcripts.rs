//! What zctl prints, as transcripts under review. `TRYCMD=overwrite cargo nextest run -p zctl` renews them.

#[test]
fn transcripts() {
    trycmd::TestCases::new().env("NO_COLOR", "1").env("COLUMNS", "100").case("tests/cmd/*.trycmd");
}
