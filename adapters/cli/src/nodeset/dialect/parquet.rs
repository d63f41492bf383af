//! A table in columns, compressed with Snappy: one row group, the columns of [`Row`].

use anyhow::{Context as _, Result};
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, Int32Type, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::row::Row;
use crate::nodeset::model::Node;
use crate::nodeset::time::Time;

/// The columns in the order of [`Row`]; [`write`] writes them in this order.
const SCHEMA: &str = "message node {
    optional binary id (UTF8); optional binary enr (UTF8); optional binary enode (UTF8); optional int64 seq (UINT_64);
    optional binary ip (UTF8); optional int32 udp (UINT_16); optional int32 tcp (UINT_16);
    optional binary ip6 (UTF8); optional int32 udp6 (UINT_16); optional int32 tcp6 (UINT_16);
    optional binary fork_hash (UTF8); optional int64 fork_next (UINT_64); optional binary network (UTF8);
    optional boolean snap; optional binary client (UTF8); optional int64 score;
    optional int64 first_response (TIMESTAMP_MICROS); optional int64 last_response (TIMESTAMP_MICROS);
    optional int64 last_check (TIMESTAMP_MICROS); optional binary kind (UTF8); optional int32 reputation;
}";

pub(super) fn write(nodes: &[&Node]) -> Result<Vec<u8>> {
    let rows: Vec<Row> = nodes.iter().map(|node| Row::new(node)).collect();
    let schema = parse_message_type(SCHEMA).context("cannot read the schema")?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = SerializedFileWriter::new(Vec::new(), schema.into(), properties.into())?;
    let mut group = writer.next_row_group()?;

    let mut table = Table { rows: &rows, group: &mut group };
    table.text(|row| Some(row.id.clone()))?;
    table.text(|row| row.enr.clone())?;
    table.text(|row| row.enode.clone())?;
    table.long(|row| row.seq.map(u64::cast_signed))?;
    table.text(|row| row.ip.clone())?;
    table.int(|row| row.udp.map(i32::from))?;
    table.int(|row| row.tcp.map(i32::from))?;
    table.text(|row| row.ip6.clone())?;
    table.int(|row| row.udp6.map(i32::from))?;
    table.int(|row| row.tcp6.map(i32::from))?;
    table.text(|row| row.fork_hash.clone())?;
    table.long(|row| row.fork_next.map(u64::cast_signed))?;
    table.text(|row| row.network.clone())?;
    table.column::<BoolType>(|row| Some(row.snap))?;
    table.text(|row| row.client.clone())?;
    table.long(|row| row.score)?;
    table.long(|row| row.first_response.map(Time::unix_micros))?;
    table.long(|row| row.last_response.map(Time::unix_micros))?;
    table.long(|row| row.last_check.map(Time::unix_micros))?;
    table.text(|row| row.kind.map(str::to_owned))?;
    table.int(|row| row.reputation)?;

    group.close()?;
    Ok(writer.into_inner()?)
}

struct Table<'a, 'b> {
    rows: &'a [Row],
    group: &'a mut SerializedRowGroupWriter<'b, Vec<u8>>,
}

impl Table<'_, '_> {
    /// Writes the next column.
    fn column<T: DataType>(&mut self, value: impl Fn(&Row) -> Option<T::T>) -> Result<()> {
        let values: Vec<Option<T::T>> = self.rows.iter().map(value).collect();
        let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
        let values: Vec<T::T> = values.into_iter().flatten().collect();
        let mut column = self.group.next_column()?.context("the schema has fewer columns than the table")?;
        column.typed::<T>().write_batch(&values, Some(&levels), None)?;
        Ok(column.close()?)
    }

    fn text(&mut self, value: impl Fn(&Row) -> Option<String>) -> Result<()> {
        self.column::<ByteArrayType>(|row| value(row).map(|text| ByteArray::from(text.into_bytes())))
    }

    fn int(&mut self, value: impl Fn(&Row) -> Option<i32>) -> Result<()> {
        self.column::<Int32Type>(value)
    }

    fn long(&mut self, value: impl Fn(&Row) -> Option<i64>) -> Result<()> {
        self.column::<Int64Type>(value)
    }
}
