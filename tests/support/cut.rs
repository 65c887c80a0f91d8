//! Recordings of long texts, whose middle was cut.

/// Puts back the lines that were cut: they count on from the line before.
pub fn rebuilt(text: &str) -> String {
    let mut out = String::new();
    let mut last = "";
    for line in text.split_inclusive('\n') {
        let cut = line.strip_prefix("… ").and_then(|rest| rest.split_once(" lines left out"));
        let Some((count, _)) = cut else {
            out.push_str(line);
            last = line;
            continue;
        };
        let (number, rest) = last.split_once(' ').expect("a numbered line");
        let first: usize = number.parse().expect("a number");
        for next in 1..=count.parse::<usize>().expect("a number") {
            out.push_str(&format!("{:0width$} {rest}", first + next, width = number.len()));
        }
    }
    out
}
