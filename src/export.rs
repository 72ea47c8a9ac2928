//! A journal as a Parquet file, for notebooks and databases: a row a record, what it says as JSON.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use kimera_protocol::{Kind, Message};
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::exit::Failure;
use crate::verbs::{message_json, read_journal};

/// Rows of a group.
const GROUP: usize = 65_536;

const SCHEMA: &str = "
message journal {
  REQUIRED INT64 seq;
  REQUIRED INT64 time (TIMESTAMP(NANOS,true));
  REQUIRED BYTE_ARRAY kind (UTF8);
  REQUIRED INT32 instrument;
  REQUIRED BOOLEAN mark;
  REQUIRED BOOLEAN input;
  REQUIRED BYTE_ARRAY body (JSON);
}";

/// Columns of the rows that gather.
#[derive(Default)]
struct Columns {
    seq: Vec<i64>,
    time: Vec<i64>,
    kind: Vec<ByteArray>,
    instrument: Vec<i32>,
    mark: Vec<bool>,
    input: Vec<bool>,
    body: Vec<ByteArray>,
}

impl Columns {
    fn push(&mut self, message: &Message) {
        let kind = message.kind();
        self.seq.push(message.header.seq as i64);
        self.time.push(message.header.time);
        self.kind.push(kind.map_or("unknown", Kind::name).into());
        self.instrument.push(message.header.instrument.into());
        self.mark.push(message.is_mark());
        self.input.push(kind.is_some_and(Kind::is_input));
        self.body.push(message_json(message)["body"].to_string().as_str().into());
    }

    fn write(&mut self, writer: &mut SerializedFileWriter<File>) -> Result<(), ParquetError> {
        if self.seq.is_empty() {
            return Ok(());
        }
        let mut group = writer.next_row_group()?;
        column::<Int64Type>(&mut group, &self.seq)?;
        column::<Int64Type>(&mut group, &self.time)?;
        column::<ByteArrayType>(&mut group, &self.kind)?;
        column::<Int32Type>(&mut group, &self.instrument)?;
        column::<BoolType>(&mut group, &self.mark)?;
        column::<BoolType>(&mut group, &self.input)?;
        column::<ByteArrayType>(&mut group, &self.body)?;
        group.close()?;
        *self = Self::default();
        Ok(())
    }
}

fn column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, File>,
    values: &[T::T],
) -> Result<(), ParquetError> {
    let Some(mut column) = group.next_column()? else {
        return Err(ParquetError::General("the schema has fewer columns than the rows".into()));
    };
    column.typed::<T>().write_batch(values, None, None)?;
    column.close()
}

/// Writes the journal of a state directory, checking every byte of it on the way; all kinds, or those named. The number of
/// rows.
///
/// # Errors
/// A damaged journal, a kind that nobody knows, and what the disk refuses. A file that was begun is removed.
pub fn export(state: &Path, out: &Path, kinds: &[String]) -> Result<u64, Failure> {
    let known: Vec<&str> = (0..=u8::MAX).filter_map(Kind::from_code).map(Kind::name).collect();
    if let Some(other) = kinds.iter().find(|kind| !known.contains(&kind.as_str())) {
        return Err(Failure::usage(format!("--kind {other}: there are {}", known.join(", "))));
    }
    let written = write(state, out, kinds);
    if written.is_err() {
        let _ = std::fs::remove_file(out);
    }
    written
}

fn write(state: &Path, out: &Path, kinds: &[String]) -> Result<u64, Failure> {
    let failed = |e: &dyn std::fmt::Display| Failure::machine(format!("cannot write {}: {e}", out.display()));
    let file = File::create(out).map_err(|e| failed(&e))?;
    let schema = parse_message_type(SCHEMA).map_err(|e| failed(&e))?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer =
        SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties)).map_err(|e| failed(&e))?;
    let (mut columns, mut rows, mut error) = (Columns::default(), 0, None);
    read_journal(state, |record| {
        let name = record.message.kind().map_or("unknown", Kind::name);
        if error.is_some() || (!kinds.is_empty() && !kinds.iter().any(|kind| kind == name)) {
            return;
        }
        columns.push(&record.message);
        rows += 1;
        if columns.seq.len() == GROUP {
            error = columns.write(&mut writer).err();
        }
    })?;
    if error.is_none() {
        error = columns.write(&mut writer).err();
    }
    if let Some(e) = error {
        return Err(failed(&e));
    }
    writer.close().map_err(|e| failed(&e))?;
    Ok(rows)
}
