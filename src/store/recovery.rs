//! From a directory to a state: which partitions there are, and what the log says.
//!
//! Opens no database of the engine where the log is whole, so that a start does not wait for other
//! people's dirty pages. Damage is put aside and told; nothing after it is skipped in silence.

mod runs;

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use self::runs::{Runs, Terms};
use super::{
    Recovery, StoreError, commit,
    head::{Admission, Bounds, Head},
    keys, layout,
    partition::{Handles, Partition},
    quarantine,
    record::{BadRecord, ChangeRecord, CheckpointRecord},
    rollup::Tier,
    state::{State, numbers},
    tiers::Tiers,
    wal::{
        self, End, Wal, WalOptions,
        checkpoint::{self, Restore},
        group::{self, Replay},
    },
};
use crate::{
    limits,
    model::{HistogramSample, Labels, Sample},
    telemetry::events::StoreEvents,
    time::Timestamp,
};

/// The number of the very first segment, the only one that may begin a log without a checkpoint.
const FIRST_SEGMENT: u64 = 1;

/// What was found, and where the log goes on.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) head: Arc<Head>,
    pub(super) state: State,
    pub(super) recovery: Recovery,
    /// Bytes of the log that no checkpoint has replaced.
    pub(super) log_bytes: u64,
    /// The last segment and the length of its good part; `None` where there is no log.
    pub(super) last: Option<(u64, u64)>,
    /// The number of a segment that is none of those that are or were there.
    pub(super) next_segment: u64,
    /// Files of the log with damage: to be put aside once a checkpoint has replaced them.
    pub(super) damaged: Vec<PathBuf>,
    /// When that was.
    pub(super) at: Timestamp,
}

/// Makes the directories, removes what was not finished, and reads everything.
pub(super) fn recover(
    dir: &Path,
    options: &WalOptions,
    handles: &Arc<Handles>,
    head: Head,
    now: Timestamp,
) -> Result<Found, StoreError> {
    let bad_format = check_format(dir, options)?;
    let others = [keys::WAL, keys::HISTORY, keys::CATALOG, keys::QUARANTINE].map(PathBuf::from);
    for name in Tier::ALL.map(keys::tier).into_iter().chain(others) {
        let path = dir.join(name);
        fs::create_dir_all(&path).map_err(StoreError::io("create", &path))?;
        remove_unfinished(&path)?;
    }
    for dir in [&dir.join(keys::TIERS), dir] {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io("sync", dir))?;
    }
    let mut found = Found {
        head: Arc::new(head),
        state: State::default(),
        recovery: Recovery::default(),
        log_bytes: 0,
        next_segment: FIRST_SEGMENT,
        last: None,
        damaged: Vec::new(),
        at: now,
    };
    found.recovery.quarantined.extend(bad_format);
    found.state.tiers = Arc::new(load_tiers(dir, handles, &mut found.recovery, now)?);
    let history = Path::new(keys::HISTORY);
    let history = load_all(dir, history, handles, &mut found.recovery, now)?;
    found.state.history.partitions = Arc::new(history);
    replay(dir, options, handles, &mut found)?;
    let replayed_from = found.state.sealed;
    settle(&mut found.state);
    let mut unreadable = Vec::new();
    found.state.history.find_last_audit(&mut |error| unreadable.push(error.to_string()));
    found.recovery.quarantined.extend(unreadable);
    // Nothing older came in; a look at each series takes a moment where they are many.
    if found.state.sealed > replayed_from {
        found.head.cut(found.state.sealed);
    }
    Ok(found)
}

/// Whether the directory has our format; a new one is marked so. Tells of a mark that is damaged or
/// gone, and makes it anew: every file names its own version, too.
fn check_format(dir: &Path, options: &WalOptions) -> Result<Option<String>, StoreError> {
    let path = dir.join(layout::FORMAT);
    let format = match fs::read(&path) {
        Ok(bytes) => layout::format_of(&bytes),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StoreError::io("read", path)(error));
        }
        Err(_) if !options.dir.exists() => {
            mark_format(dir, &path)?;
            layout::Format::Ours
        }
        Err(_) if dir.join(keys::TIERS).exists() => layout::Format::Damaged,
        // Before there were formats, there were no tiers.
        Err(_) => layout::Format::Other(String::new()),
    };
    match format {
        layout::Format::Ours => Ok(None),
        layout::Format::Other(found) => Err(StoreError::UnknownStore { path, found }),
        layout::Format::Damaged => {
            mark_format(dir, &path)?;
            Ok(Some(format!("{}: it was damaged or missing, and was made anew", path.display())))
        }
    }
}

/// Done before anything else is there: a directory with a log and without a mark is not one of ours.
fn mark_format(dir: &Path, path: &Path) -> Result<(), StoreError> {
    let unfinished = keys::unfinished(path);
    let written = File::create(&unfinished).and_then(|mut file| {
        file.write_all(layout::format_text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        File::open(dir)?.sync_all()
    });
    written.map_err(StoreError::io("write", path))
}

/// The partitions of samples. What a crash has left beside the partition that was made of it is removed.
fn load_tiers(
    dir: &Path,
    handles: &Arc<Handles>,
    recovery: &mut Recovery,
    now: Timestamp,
) -> Result<Tiers, StoreError> {
    let mut tiers = Tiers::default();
    for tier in Tier::ALL {
        for partition in load_all(dir, &keys::tier(tier), handles, recovery, now)? {
            tiers.add(tier, partition);
        }
    }
    for partition in tiers.take_superseded() {
        partition.doom();
    }
    Ok(tiers)
}

fn remove_unfinished(dir: &Path) -> Result<(), StoreError> {
    for path in list(dir)? {
        if path.extension().is_some_and(|extension| extension == keys::UNFINISHED) {
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(StoreError::io("remove", &path))?;
        }
    }
    Ok(())
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(dir).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
    });
    entries.map_err(StoreError::io("list", dir))
}

/// The partitions below `dir/name` by age; one whose manifest is damaged is put aside.
fn load_all(
    dir: &Path,
    name: &Path,
    handles: &Arc<Handles>,
    recovery: &mut Recovery,
    now: Timestamp,
) -> Result<Vec<Arc<Partition>>, StoreError> {
    let mut loaded = Vec::new();
    for path in list(&dir.join(name))? {
        match Partition::load(&path, handles) {
            Ok(partition) => loaded.push(Arc::new(partition)),
            Err(error @ StoreError::Damaged { .. }) => {
                recovery.quarantined.push(error.to_string());
                quarantine::put_aside(dir, &path, now)?;
            }
            // Descriptors or rights are missing, say: that is no reason to move it away.
            Err(error) => return Err(error),
        }
    }
    loaded.sort_by_key(|p| {
        (p.manifest().start, p.manifest().history.iter().map(|s| s.last).sum::<u64>())
    });
    Ok(loaded)
}

/// Restores the last checkpoint and replays the log from there on.
fn replay(
    dir: &Path,
    options: &WalOptions,
    handles: &Arc<Handles>,
    found: &mut Found,
) -> Result<(), StoreError> {
    let segments = wal::segments(&options.dir)?;
    let from = restore_checkpoint(options, found)?;
    let newest = segments.last().copied().max(from);
    found.next_segment = newest.unwrap_or(FIRST_SEGMENT) + 1;
    if from.is_none() && segments.first() != Some(&FIRST_SEGMENT) {
        // The beginning is lost: the catalog has an older copy of what it held.
        restore_catalog(dir, handles, found)?;
    }
    let Some(from) = from.or(segments.first().copied()) else { return Ok(()) };
    if newest.is_some_and(|newest| !segments.contains(&newest)) {
        // It was begun before the checkpoint was: commits in it are lost.
        found.recovery.quarantined.push(format!("segment {from} of the log is missing"));
    }
    let numbers: Vec<u64> = segments.into_iter().filter(|number| *number >= from).collect();
    let terms = Terms { epoch: found.state.epoch, bounds: bounds(&found.state) };
    let taken = runs::put_in(terms, &options.dir, |runs| {
        let mut expected = from;
        let mut before: Option<(PathBuf, End)> = None;
        for number in numbers {
            let path = keys::segment(&options.dir, number);
            if number != expected {
                let told = format!("segments {expected} to {number} of the log are missing");
                found.recovery.quarantined.push(told);
                before = None;
            }
            expected = number + 1;
            let end = replay_segment(&path, found, runs)?;
            if let Some((path, cut)) = before.take() {
                judge_length(&path, &cut, end.previous_len, found);
            }
            judge(&path, &end, Some(number) == newest, found);
            found.log_bytes += end.good;
            found.last = Some((number, end.good));
            before = Some((path, end));
        }
        Ok(())
    })?;
    found.head.count(taken);
    found.recovery.samples_replayed += taken;
    Ok(())
}

/// What was taken once is taken again, however late it came: unless it lies in partitions.
fn bounds(state: &State) -> Bounds {
    Bounds {
        oldest: Timestamp::from_millis(i64::MIN),
        floor: state.sealed,
        latest: Timestamp::from_millis(i64::MAX),
        window: Duration::MAX,
    }
}

/// Takes what the last checkpoint holds; returns from which segment on the log goes on.
fn restore_checkpoint(options: &WalOptions, found: &mut Found) -> Result<Option<u64>, StoreError> {
    let Some(number) = wal::checkpoints(&options.dir)?.pop() else { return Ok(None) };
    let path = keys::checkpoint(&options.dir, number);
    let mut restoring = Restoring { head: &found.head, state: &mut found.state, next: None };
    let read = checkpoint::read(&path, &mut restoring)?;
    if let Some(next) = restoring.next {
        found.state.history.next = next;
    }
    found.recovery.samples_replayed += found.head.samples();
    if !read.whole {
        let shown = path.display();
        found.recovery.quarantined.push(read.bad.map_or_else(
            || format!("{shown}: parts of the checkpoint are damaged, the others were taken"),
            |bad| format!("{shown}: {bad}"),
        ));
        found.damaged.push(path);
    }
    Ok(Some(number))
}

/// Takes a checkpoint in.
struct Restoring<'a> {
    head: &'a Head,
    state: &'a mut State,
    next: Option<[u64; 3]>,
}

impl Restore for Restoring<'_> {
    fn about(&mut self, about: &CheckpointRecord) -> Result<(), BadRecord> {
        self.state.floor = Timestamp::from_millis(about.floor);
        self.state.sealed = Timestamp::from_millis(about.sealed);
        self.state.history.begin_restore(numbers(&about.unsealed)?);
        self.next = Some(numbers(&about.next)?);
        Ok(())
    }

    fn change(&mut self, change: &ChangeRecord) -> Result<(), BadRecord> {
        self.state.apply(change)
    }

    fn series(
        &mut self,
        labels: Labels,
        blocks: Vec<u8>,
        histograms: Vec<HistogramSample>,
    ) -> Result<(), BadRecord> {
        self.head.restore(&labels, blocks, histograms).map_err(|_| BadRecord("series"))
    }
}

fn replay_segment(path: &Path, found: &mut Found, runs: &mut Runs) -> Result<End, StoreError> {
    let mut replaying = Replaying::new(&found.head, &mut found.state, runs);
    let mut bad = Vec::new();
    let end = wal::read_segment(path, |payload| {
        bad.extend(replaying.take(payload).err());
    })?;
    let histograms = replaying.histograms;
    found.head.count(histograms);
    found.recovery.samples_replayed += histograms;
    if let Some(error) = bad.first() {
        let others = bad.len() - 1;
        let shown = path.display();
        found.recovery.quarantined.push(format!("{shown}: {error}, and {others} more"));
        found.damaged.push(path.to_owned());
    }
    Ok(end)
}

/// Takes a segment in.
struct Replaying<'a> {
    head: &'a Head,
    state: &'a mut State,
    runs: &'a mut Runs,
    /// The series that the segment has named so far, by their numbers in it: their numbers here.
    named: Vec<Option<u32>>,
    unnamed: bool,
    /// How many histograms were taken: those are put in at once.
    histograms: u64,
}

impl<'a> Replaying<'a> {
    fn new(head: &'a Head, state: &'a mut State, runs: &'a mut Runs) -> Self {
        Self { head, state, runs, named: Vec::new(), unnamed: false, histograms: 0 }
    }

    fn take(&mut self, payload: &[u8]) -> Result<(), BadRecord> {
        self.unnamed = false;
        let read = group::read(payload, self);
        // Their series was named in a stretch of the log that is damaged.
        if self.unnamed { read.and(Err(BadRecord("sample without a series"))) } else { read }
    }
}

impl Replay for Replaying<'_> {
    fn series(&mut self, id: u32, labels: Labels) -> Result<(), BadRecord> {
        let at = id as usize;
        if at >= limits::SERIES_NUMBERS_MAX {
            return Err(BadRecord("number of a series"));
        }
        if at >= self.named.len() {
            self.named.resize(at + 1, None);
        }
        self.named[at] = Some(self.runs.know(self.head.find_or_restore(&labels)));
        Ok(())
    }

    fn sample(&mut self, id: u32, sample: Sample) {
        match self.named.get(id as usize) {
            Some(Some(number)) => self.runs.push(*number, sample),
            _ => self.unnamed = true,
        }
    }

    fn histogram(&mut self, id: u32, sample: HistogramSample) {
        let number = self.named.get(id as usize).copied().flatten();
        let Some(series) = number.and_then(|number| self.runs.series(number)) else {
            self.unnamed = true;
            return;
        };
        let mut open = series.lock();
        let admission = open.append_histogram(&sample, self.state.epoch, &bounds(self.state));
        if admission == Some(Admission::Accepted) {
            open.settle_histograms_unread();
            self.histograms += 1;
        }
    }

    fn change(&mut self, change: &ChangeRecord) -> Result<(), BadRecord> {
        self.state.apply(change)
    }
}

/// A torn end of the last segment was never acknowledged; anything else is damage.
fn judge(path: &Path, end: &End, is_last: bool, found: &mut Found) {
    let shown = path.display();
    let mut damage: Vec<String> = end
        .gaps
        .iter()
        .map(|(from, to)| format!("{shown}: bytes {from} to {to} are damaged, records follow them"))
        .collect();
    if is_last {
        found.recovery.torn_bytes = end.torn;
    } else if end.torn > 0 {
        damage.push(format!("{shown}: the last {} bytes are damaged, segments follow", end.torn));
    }
    // It was durable before the segment had its name: no crash leaves it so.
    if end.previous_len.is_none() && end.gaps.is_empty() {
        damage.push(format!("{shown}: its beginning is damaged"));
    }
    report(path, damage, found);
}

/// A segment that is shorter than the next one remembers it has lost its end, if at the end of a frame.
fn judge_length(path: &Path, end: &End, left: Option<u64>, found: &mut Found) {
    let missing = end.missing(left.unwrap_or_default());
    if missing > 0 {
        let shown = path.display();
        let told = format!("{shown}: its last {missing} bytes are missing, segments follow");
        report(path, vec![told], found);
    }
}

fn report(path: &Path, damage: Vec<String>, found: &mut Found) {
    if !damage.is_empty() && !found.damaged.iter().any(|known| known == path) {
        found.damaged.push(path.to_owned());
    }
    found.recovery.quarantined.extend(damage);
}

/// Takes the small state from the newest copy in the catalog that can be read.
fn restore_catalog(
    dir: &Path,
    handles: &Arc<Handles>,
    found: &mut Found,
) -> Result<(), StoreError> {
    let mut copies = list(&dir.join(keys::CATALOG))?;
    copies.sort();
    for path in copies.iter().rev() {
        let copy = Partition::load(path, handles).and_then(|p| Ok((p.state()?, p)));
        let next = |p: &Partition| p.manifest().history.iter().map(|s| s.last).collect::<Vec<_>>();
        let first =
            |p: &Partition| p.manifest().history.iter().map(|s| s.first).collect::<Vec<_>>();
        let restored = copy.and_then(|(changes, p)| {
            let outcome = found.state.restore(&changes, &first(&p), &next(&p));
            outcome.map_err(|error| StoreError::Damaged {
                path: path.clone(),
                reason: error.to_string(),
            })
        });
        handles.close_idle();
        match restored {
            Ok(()) => {
                let told = "the beginning of the log is missing or damaged: rules, alerts, targets and \
                            accumulators were taken from the catalog, which is older";
                found.recovery.quarantined.push(told.to_owned());
                return Ok(());
            }
            Err(error @ StoreError::Damaged { .. }) => {
                found.recovery.quarantined.push(error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// What lies in partitions is not needed in memory: a crash may have come between the two.
fn settle(state: &mut State) {
    let floor =
        state.tiers.all().map(|(_, partition)| partition.end()).max().unwrap_or(state.sealed);
    let mut sealed = state.history.sealed;
    for partition in state.history.partitions.iter() {
        for (sealed, span) in sealed.iter_mut().zip(&partition.manifest().history) {
            *sealed = (*sealed).max(if span.count > 0 { span.last + 1 } else { 0 });
        }
    }
    state.cut(floor, sealed);
}

/// Where a log goes on after recovery.
pub(super) fn open_log(
    dir: &Path,
    options: &WalOptions,
    found: &Found,
    events: &StoreEvents,
) -> Result<Wal, StoreError> {
    match found.last {
        Some((number, good)) if found.recovery.quarantined.is_empty() => {
            let mut wal = Wal::resume(options.clone(), number, good)?;
            // This process begins its own segment; on a full disk the commits try again, and report it.
            match wal.rotate() {
                Err(error) if !error.is_full_disk() => Err(error),
                _ => Ok(wal),
            }
        }
        None if found.recovery.quarantined.is_empty() => {
            Wal::begin(options.clone(), FIRST_SEGMENT, 0)
        }
        _ => replace_log(dir, options, found, events),
    }
}

/// Begins a segment that does not continue those before it, which were damaged or are not all there.
fn replace_log(
    dir: &Path,
    options: &WalOptions,
    found: &Found,
    events: &StoreEvents,
) -> Result<Wal, StoreError> {
    let wal = Wal::begin(options.clone(), found.next_segment, 0)?;
    write_checkpoint(options, found.next_segment, &found.head, &found.state)?;
    for path in &found.damaged {
        quarantine::put_aside(dir, path, found.at)?;
    }
    commit::remove_before(options, found.next_segment, events);
    Ok(wal)
}

/// Writes everything that came before segment `number`, which `state` sees and nothing changes;
/// returns how many bytes that took.
pub(super) fn write_checkpoint(
    options: &WalOptions,
    number: u64,
    head: &Head,
    state: &State,
) -> Result<u64, StoreError> {
    let damaged = |error: BadRecord| StoreError::Damaged {
        path: options.dir.clone(),
        reason: error.to_string(),
    };
    let mut writer = checkpoint::Writer::begin(options, number, &state.about())?;
    for change in state.to_changes().map_err(damaged)? {
        writer.change(&change)?;
    }
    for series in head.all() {
        let mut view = series.view(state.epoch, state.sealed, Timestamp::from_millis(i64::MAX));
        let histograms = view.take_histograms();
        let blocks = view.into_blocks(state.sealed);
        if !blocks.is_empty() || !histograms.is_empty() {
            writer.series(series.labels(), &blocks, &histograms)?;
        }
    }
    writer.finish()
}
