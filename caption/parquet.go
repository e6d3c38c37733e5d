package caption

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

const (
	maxFooter = 256 << 20 // of a parquet file, whose index it is
	maxPage   = 1 << 30   // of a parquet column, unpacked; published files with images reach some 100 MB
)

func openParquet(pattern string, o Options) (Source, error) {
	files, err := expandShards(pattern)
	if err != nil {
		return nil, err
	}
	root := o.Root
	if root == "" {
		root = filepath.Dir(files[0])
	}
	return openParquetFiles(files, root, o)
}

// openParquetFiles opens parquet files as Hugging Face's data sets have them: the image as its bytes, or as a struct of
// bytes and path, or as a path only; the caption as a text or a list of texts. Files with paths become a list, others
// stream.
func openParquetFiles(files []string, root string, o Options) (Source, error) {
	hash, err := hashFiles(files)
	if err != nil {
		return nil, err
	}
	if o.Root != "" {
		root = o.Root
	}
	p := &parquetSource{files: files, root: root, options: o, hash: hash}
	for _, name := range files {
		file, err := openParquetFile(name, o)
		if err != nil {
			return nil, err
		}
		p.rows += file.rows
		paths := file.bytes == nil
		file.close()
		if paths {
			return readWhole(name, p.asList)
		}
	}
	return p, nil
}

type parquetSource struct {
	files   []string
	root    string
	options Options
	hash    string
	rows    int64
	skipped Skipped
	current *parquetFile
}

func (p *parquetSource) Hash() string { return p.hash }

// Len counts rows: those without a caption are among them until they are read.
func (p *parquetSource) Len() int         { return int(p.rows) }
func (p *parquetSource) Skipped() Skipped { return p.skipped.clone() }

func (p *parquetSource) Close() error {
	p.files = nil
	if p.current != nil {
		p.current.close()
		p.current = nil
	}
	return nil
}

func (p *parquetSource) Next() (Sample, error) {
	for {
		row, err := p.nextRow()
		if err != nil {
			return Sample{}, err
		}
		p.skipped.Seen++
		texts := keepTexts(row.texts)
		switch {
		case len(row.image) == 0 && row.path == "":
			p.skipped.malformed("%s: no image", row.key)
		case len(texts) == 0:
			p.skipped.empty("%s: no caption", row.key)
		case len(row.image) == 0:
			return Sample{Key: row.key, Texts: texts, Read: imageFile(p.root, row.path)}, nil
		default:
			image := row.image
			return Sample{Key: row.key, Texts: texts, Read: func() ([]byte, error) { return image, nil }}, nil
		}
	}
}

func (p *parquetSource) nextRow() (parquetRow, error) {
	for {
		if p.current == nil {
			if len(p.files) == 0 {
				return parquetRow{}, io.EOF
			}
			file, err := openParquetFile(p.files[0], p.options)
			if err != nil {
				return parquetRow{}, err
			}
			p.current, p.files = file, p.files[1:]
		}
		row, err := p.current.next()
		if err == nil {
			return row, nil
		}
		name := p.current.name
		p.current.close()
		p.current = nil
		if err != io.EOF {
			p.files = nil
			return parquetRow{}, fmt.Errorf("read captions %s: %w", name, err)
		}
	}
}

// asList gathers the rows of files that only name their images, so that the rows of one image come together.
func (p *parquetSource) asList() (*list, error) {
	list := newList(p.root)
	for {
		row, err := p.nextRow()
		if err == io.EOF {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		if err := list.addRow(row.path, row.texts, func() string { return row.key }); err != nil {
			return nil, err
		}
	}
}

type parquetRow struct {
	key   string
	image []byte
	path  string
	texts []string
}

// parquetFile reads the rows of one file, of each row only the columns that are needed.
type parquetFile struct {
	name          string
	file          *os.File
	groups        []parquet.RowGroup
	rows, row     int64
	left          int64 // rows of the current group
	bytes, path   *parquetColumn
	caption       *parquetColumn
	declaredPages []format.RowGroup
}

type parquetColumn struct {
	index  int
	pages  parquet.Pages
	values parquet.ValueReader
	buffer [64]parquet.Value
	ahead  []parquet.Value // of the buffer, not yet taken
}

// guardParquet turns a panic of the parquet library, which damaged files can cause, into an error.
func guardParquet(err *error) {
	if fault := recover(); fault != nil {
		*err = fmt.Errorf("damaged parquet file: %v", fault)
	}
}

func openParquetFile(name string, o Options) (opened *parquetFile, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open captions: %w", err)
	}
	defer func() {
		if err != nil {
			file.Close()
			err = fmt.Errorf("open captions %s: %w", name, err)
		}
	}()
	defer guardParquet(&err)
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if err := checkFooter(file, info.Size()); err != nil {
		return nil, err
	}
	index, err := parquet.OpenFile(file, info.Size(), parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, err
	}
	f := &parquetFile{name: name, file: file, groups: index.RowGroups(), declaredPages: index.Metadata().RowGroups}
	for _, group := range f.groups {
		if rows := group.NumRows(); rows < 0 || rows > 1<<40 {
			return nil, fmt.Errorf("a row group of %d rows", rows)
		}
		f.rows += group.NumRows()
	}
	if err := f.findColumns(index.Schema(), o); err != nil {
		return nil, err
	}
	return f, nil
}

// checkFooter sees that the index at a file's end has the length that it claims.
func checkFooter(file io.ReaderAt, size int64) error {
	var tail [8]byte
	if size < 12 {
		return fmt.Errorf("%d bytes, too short for a parquet file", size)
	}
	if _, err := file.ReadAt(tail[:], size-8); err != nil {
		return err
	}
	if string(tail[4:]) != "PAR1" {
		return fmt.Errorf("ends with %q, expected PAR1 as parquet files do", tail[4:])
	}
	if length := int64(binary.LittleEndian.Uint32(tail[:4])); length > size-12 || length > maxFooter {
		return fmt.Errorf("its index claims %d of the file's %d bytes", length, size)
	}
	return nil
}

// findColumns chooses the columns of image and caption.
func (f *parquetFile) findColumns(schema *parquet.Schema, o Options) error {
	var names []string
	leaves := map[string][]parquet.LeafColumn{}
	for _, path := range schema.Columns() {
		leaf, ok := schema.Lookup(path...)
		if !ok || len(path) == 0 {
			continue
		}
		if _, seen := leaves[path[0]]; !seen {
			names = append(names, path[0])
		}
		leaves[path[0]] = append(leaves[path[0]], leaf)
	}
	imageAt, captionAt, err := findColumns(names, o)
	if err != nil {
		return err
	}
	for _, leaf := range leaves[names[imageAt]] {
		if leaf.Node.Type().Kind() != parquet.ByteArray || leaf.MaxRepetitionLevel > 0 {
			continue
		}
		text := isText(leaf.Node.Type())
		last := leaf.Path[len(leaf.Path)-1]
		switch {
		case f.bytes == nil && !text && last != "path":
			f.bytes = &parquetColumn{index: leaf.ColumnIndex}
		case f.path == nil && (text || last == "path"):
			f.path = &parquetColumn{index: leaf.ColumnIndex}
		}
	}
	if f.bytes == nil && f.path == nil {
		return fmt.Errorf("column %q holds neither image bytes nor paths", names[imageAt])
	}
	texts := slices.DeleteFunc(leaves[names[captionAt]], func(leaf parquet.LeafColumn) bool {
		return leaf.Node.Type().Kind() != parquet.ByteArray
	})
	if len(texts) == 0 {
		return fmt.Errorf("column %q holds no texts", names[captionAt])
	}
	chosen := texts[0]
	for _, leaf := range texts {
		// Of a list of structs, as of sentences with tokens, the field with the sentence.
		if last := leaf.Path[len(leaf.Path)-1]; slices.Contains([]string{"raw", "caption", "text"}, last) {
			chosen = leaf
			break
		}
	}
	f.caption = &parquetColumn{index: chosen.ColumnIndex}
	return nil
}

// isText tells a column of texts from one of bytes, whether a new or an old program wrote it.
func isText(kind parquet.Type) bool {
	if logical := kind.LogicalType(); logical != nil {
		_, text := logical.Value.(*format.StringType)
		return text
	}
	converted := kind.ConvertedType()
	return converted != nil && *converted == deprecated.UTF8
}

func (f *parquetFile) columns() []*parquetColumn {
	return slices.DeleteFunc([]*parquetColumn{f.bytes, f.path, f.caption}, func(c *parquetColumn) bool { return c == nil })
}

func (f *parquetFile) close() {
	for _, column := range f.columns() {
		column.close()
	}
	f.file.Close()
}

func (f *parquetFile) next() (row parquetRow, err error) {
	defer guardParquet(&err)
	for f.left == 0 {
		if len(f.groups) == 0 {
			return parquetRow{}, io.EOF
		}
		group := f.groups[0]
		chunks := group.ColumnChunks()
		for _, column := range f.columns() {
			if err := f.checkPages(column.index); err != nil {
				return parquetRow{}, err
			}
			column.open(chunks[column.index])
		}
		f.left, f.groups, f.declaredPages = group.NumRows(), f.groups[1:], f.declaredPages[1:]
	}
	row.key = fmt.Sprintf("%s#%d", filepath.Base(f.name), f.row)
	f.row++
	f.left--
	if f.bytes != nil {
		err = f.bytes.eachValue(func(value []byte) { row.image = slices.Clone(value) })
	}
	if f.path != nil && err == nil {
		err = f.path.eachValue(func(value []byte) { row.path = strings.TrimSpace(string(value)) })
	}
	if err == nil {
		err = f.caption.eachValue(func(value []byte) { row.texts = append(row.texts, string(value)) })
	}
	if err != nil {
		return parquetRow{}, fmt.Errorf("row %d: %w", f.row, err)
	}
	if len(row.image) > maxImage {
		row.image = nil
	}
	return row, nil
}

// checkPages walks over the page headers of a column of the first of the groups left, because the library believes the
// sizes in them.
func (f *parquetFile) checkPages(column int) error {
	meta := f.declaredPages[0].Columns[column].MetaData
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	at := meta.DataPageOffset
	if dictionary := meta.DictionaryPageOffset; dictionary > 0 {
		at = min(at, dictionary)
	}
	end := at + meta.TotalCompressedSize
	if at < 4 || meta.TotalCompressedSize < 0 || end < at || end > info.Size() {
		return fmt.Errorf("a column of %d bytes at %d in a file of %d", meta.TotalCompressedSize, at, info.Size())
	}
	reader := bufio.NewReaderSize(nil, 4096)
	protocol := new(thrift.CompactProtocol)
	for at < end {
		section := &countingReader{in: io.NewSectionReader(f.file, at, end-at)}
		reader.Reset(section)
		var header format.PageHeader
		if err := thrift.NewDecoder(protocol.NewReader(reader)).Decode(&header); err != nil {
			return fmt.Errorf("page header at %d: %w", at, err)
		}
		start := at + section.count - int64(reader.Buffered())
		packed, unpacked := int64(header.CompressedPageSize), int64(header.UncompressedPageSize)
		if packed < 0 || packed > end-start || unpacked < 0 || unpacked > maxPage {
			return fmt.Errorf("a page of %d bytes, %d unpacked, where %d are left", packed, unpacked, end-start)
		}
		for _, values := range []int32{header.DataPageHeader.V.NumValues, header.DataPageHeaderV2.V.NumValues, header.DictionaryPageHeader.V.NumValues} {
			// Runs of equal levels take next to nothing, so that the page's size does not bound its values.
			if values < 0 || int64(values) > max(f.rows, 1<<16)*64 {
				return fmt.Errorf("a page of %d values in a file of %d rows", values, f.rows)
			}
		}
		at = start + packed
	}
	return nil
}

type countingReader struct {
	in    io.Reader
	count int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.count += int64(n)
	return n, err
}

func (c *parquetColumn) open(chunk parquet.ColumnChunk) {
	c.close()
	c.pages = chunk.Pages()
}

func (c *parquetColumn) close() {
	if c.pages != nil {
		_ = c.pages.Close()
	}
	c.pages, c.values, c.ahead = nil, nil, nil
}

// eachValue calls visit with each value of the next row, nulls left out. The bytes are the page's and must be copied.
func (c *parquetColumn) eachValue(visit func([]byte)) error {
	for first := true; ; first = false {
		if len(c.ahead) == 0 {
			err := c.refill()
			if err == io.EOF && !first {
				return nil
			}
			if err == io.EOF {
				return errors.New("a column has fewer rows than its group")
			}
			if err != nil {
				return err
			}
		}
		value := c.ahead[0]
		if !first && value.RepetitionLevel() == 0 {
			return nil
		}
		c.ahead = c.ahead[1:]
		if !value.IsNull() {
			visit(value.ByteArray())
		}
	}
}

func (c *parquetColumn) refill() error {
	for {
		if c.values == nil {
			page, err := c.pages.ReadPage()
			if err != nil {
				return err
			}
			c.values = page.Values()
		}
		n, err := c.values.ReadValues(c.buffer[:])
		if err != nil {
			c.values = nil
			if err != io.EOF {
				return err
			}
		}
		if n > 0 {
			c.ahead = c.buffer[:n]
			return nil
		}
	}
}
