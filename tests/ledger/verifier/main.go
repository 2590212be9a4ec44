// Command verifier checks a C2SP log with the Go project's own code (golang.org/x/mod/sumdb), and none of Kumoi's.
//
//	verifier -log URL|DIR -vkey KEY [-witness KEY]... [-quorum N] [-old FILE]... [-proof FILE -entry BASE64]...
//
// It opens the checkpoint (signed-note, tlog-checkpoint), counts cosignatures (tlog-cosignature), rebuilds the
// tree from the entry bundles and compares every tile and the root (tlog-tiles), proves from the tiles that the
// log contains each older checkpoint, and checks receipts (tlog-proof). What it found is one line of JSON;
// whatever does not verify ends it with a sentence and exit code 1.
//
// The package note knows Ed25519 signatures only, and tlog another form of paths and of checkpoint text: these
// few lines are here, written from c2sp.org.
package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	tileHeight   = 8
	fileBytesMax = 256 * (2 + 65535)
	typeCosigned = 0x04
	proofHeader  = "c2sp.org/tlog-proof@v1\n"
)

type words []string

func (w *words) String() string         { return strings.Join(*w, " ") }
func (w *words) Set(value string) error { *w = append(*w, value); return nil }

// cosigner verifies cosignature/v1: eight bytes of POSIX time, then Ed25519 over that time and the text.
type cosigner struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

func (c cosigner) Name() string    { return c.name }
func (c cosigner) KeyHash() uint32 { return c.hash }
func (c cosigner) Verify(text, blob []byte) bool {
	if len(blob) != 8+ed25519.SignatureSize {
		return false
	}
	head := fmt.Sprintf("cosignature/v1\ntime %d\n", binary.BigEndian.Uint64(blob))
	return ed25519.Verify(c.key, append([]byte(head), text...), blob[8:])
}

func cosignerParse(vkey string) (cosigner, error) {
	parts := strings.SplitN(vkey, "+", 3)
	if len(parts) != 3 {
		return cosigner{}, fmt.Errorf("%q is no verifier key", vkey)
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+ed25519.PublicKeySize || key[0] != typeCosigned {
		return cosigner{}, fmt.Errorf("%q is no key of a witness", vkey)
	}
	sum := sha256.Sum256(append([]byte(parts[0]+"\n"), key...))
	if fmt.Sprintf("%x", sum[:4]) != parts[1] {
		return cosigner{}, fmt.Errorf("%q has another key id than it says", vkey)
	}
	return cosigner{parts[0], binary.BigEndian.Uint32(sum[:4]), key[1:]}, nil
}

// trust is what the caller brought: the log's key, the witnesses', and how many of them must have signed.
type trust struct {
	log       note.Verifier
	witnesses []cosigner
	quorum    int
}

func (t trust) open(raw []byte, quorum int) (tlog.Tree, int, error) {
	known := []note.Verifier{t.log}
	for _, witness := range t.witnesses {
		known = append(known, witness)
	}
	opened, err := note.Open(raw, note.VerifierList(known...))
	if err != nil {
		return tlog.Tree{}, 0, err
	}
	signed, keys := false, map[string]bool{}
	for _, signature := range opened.Sigs {
		signed = signed || signature.Name == t.log.Name() && signature.Hash == t.log.KeyHash()
		for _, witness := range t.witnesses {
			if signature.Name == witness.name && signature.Hash == witness.hash {
				keys[string(witness.key)] = true
			}
		}
	}
	if !signed {
		return tlog.Tree{}, 0, errors.New("the log's key did not sign the checkpoint")
	}
	if len(keys) < quorum {
		return tlog.Tree{}, 0, fmt.Errorf("%d of %d witnesses signed the checkpoint", len(keys), quorum)
	}
	tree, err := treeParse(opened.Text, t.log.Name())
	return tree, len(keys), err
}

func treeParse(text, origin string) (tlog.Tree, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return tlog.Tree{}, fmt.Errorf("a checkpoint has three lines, not %q", text)
	}
	if lines[0] != origin {
		return tlog.Tree{}, fmt.Errorf("the checkpoint is of %q, not of %q", lines[0], origin)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, fmt.Errorf("%q is no size", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	return tlog.Tree{N: size, Hash: root}, err
}

// place is where the log's files are: an address, or the directory of a mirror.
type place string

func (p place) read(path string) ([]byte, error) {
	if !strings.HasPrefix(string(p), "http") {
		return os.ReadFile(filepath.Join(string(p), filepath.FromSlash(path)))
	}
	client := http.Client{Timeout: 30 * time.Second}
	answer, err := client.Get(string(p) + "/" + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, answer.Status)
	}
	return io.ReadAll(io.LimitReader(answer.Body, fileBytesMax))
}

// c2spPath is the path of tlog-tiles: Go's without the height, and "entries" for its level "data".
func c2spPath(tile tlog.Tile) string {
	path := strings.TrimPrefix(tile.Path(), fmt.Sprintf("tile/%d/", tileHeight))
	if tile.L < 0 {
		path = "entries/" + strings.TrimPrefix(path, "data/")
	}
	return "tile/" + path
}

func (p place) Height() int                                { return tileHeight }
func (p place) SaveTiles(tiles []tlog.Tile, data [][]byte) {}
func (p place) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	read := make([][]byte, len(tiles))
	for i, tile := range tiles {
		var err error
		if read[i], err = p.read(c2spPath(tile)); err != nil {
			return nil, err
		}
	}
	return read, nil
}

// entriesRead gives the entries of the bundle `n`, of which the log has `width`.
func (p place) entriesRead(n int64, width int) ([][]byte, error) {
	path := c2spPath(tlog.Tile{H: tileHeight, L: -1, N: n, W: width})
	rest, err := p.read(path)
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(entries) < width {
		if len(rest) < 2 || len(rest) < 2+int(binary.BigEndian.Uint16(rest)) {
			return nil, fmt.Errorf("%s ends inside entry %d", path, len(entries))
		}
		end := 2 + int(binary.BigEndian.Uint16(rest))
		entries, rest = append(entries, rest[2:end]), rest[end:]
	}
	if len(rest) > 0 {
		return nil, fmt.Errorf("%s has %d bytes too many", path, len(rest))
	}
	return entries, nil
}

// rebuild grows the tree from its entries, and compares its root and every tile; it says how many those are.
func rebuild(files place, tree tlog.Tree) (int, error) {
	var stored []tlog.Hash
	grown := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			found[i] = stored[index]
		}
		return found, nil
	})
	for start := int64(0); start < tree.N; start += 1 << tileHeight {
		width := tree.N - start
		if width > 1<<tileHeight {
			width = 1 << tileHeight
		}
		entries, err := files.entriesRead(start>>tileHeight, int(width))
		if err != nil {
			return 0, err
		}
		for i, entry := range entries {
			hashes, err := tlog.StoredHashes(start+int64(i), entry, grown)
			if err != nil {
				return 0, err
			}
			stored = append(stored, hashes...)
		}
	}
	root, err := tlog.TreeHash(tree.N, grown)
	if err != nil || root != tree.Hash {
		return 0, fmt.Errorf("the entries hash to %v, the checkpoint says %v (%v)", root, tree.Hash, err)
	}
	tiles := tlog.NewTiles(tileHeight, 0, tree.N)
	compared := 0
	for i, tile := range tiles {
		// Go lists a partial tile at every width that it ever had; a mirror keeps the last.
		if i+1 < len(tiles) && tiles[i+1].L == tile.L && tiles[i+1].N == tile.N {
			continue
		}
		wanted, err := tlog.ReadTileData(tile, grown)
		if err != nil {
			return 0, err
		}
		found, err := files.read(c2spPath(tile))
		if err != nil {
			return 0, err
		}
		if !bytes.Equal(wanted, found) {
			return 0, fmt.Errorf("%s is not what the entries make", c2spPath(tile))
		}
		compared++
	}
	return compared, nil
}

// grownOut proves, from the log's tiles, that `newer` contains everything that `older` contained.
func grownOut(files place, older, newer tlog.Tree) error {
	if older.N > newer.N {
		return fmt.Errorf("the log was shortened from %d to %d entries", older.N, newer.N)
	}
	if older.N == 0 {
		return nil
	}
	proof, err := tlog.ProveTree(newer.N, older.N, tlog.TileHashReader(newer, files))
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, newer.N, newer.Hash, older.N, older.Hash)
}

// proofCheck checks a tlog-proof: that `entry` is in the log of the checkpoint at its end.
func proofCheck(raw, entry []byte, trusted trust) (tlog.Tree, error) {
	text, signed, found := strings.Cut(string(raw), "\n\n")
	if !found || !strings.HasPrefix(text, proofHeader) {
		return tlog.Tree{}, errors.New("no tlog-proof")
	}
	tree, _, err := trusted.open([]byte(signed), trusted.quorum)
	if err != nil {
		return tree, err
	}
	lines := strings.Split(strings.TrimPrefix(text, proofHeader), "\n")
	if strings.HasPrefix(lines[0], "extra ") {
		lines = lines[1:]
	}
	if len(lines) == 0 || !strings.HasPrefix(lines[0], "index ") {
		return tree, errors.New("the tlog-proof has no index")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[0], "index "), 10, 64)
	if err != nil {
		return tree, err
	}
	var proof tlog.RecordProof
	for _, line := range lines[1:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return tree, err
		}
		proof = append(proof, hash)
	}
	return tree, tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(entry))
}

type found struct {
	Origin    string `json:"origin"`
	Size      int64  `json:"size"`
	Root      string `json:"root"`
	Witnesses int    `json:"witnesses"`
	Tiles     int    `json:"tiles"`
	Older     int    `json:"older"`
	Proofs    int    `json:"proofs"`
}

func verify(files place, trusted trust, older, proofs, entries []string) (found, error) {
	raw, err := files.read("checkpoint")
	if err != nil {
		return found{}, err
	}
	newest, seen, err := trusted.open(raw, trusted.quorum)
	if err != nil {
		return found{}, err
	}
	tiles, err := rebuild(files, newest)
	if err != nil {
		return found{}, err
	}
	for i, path := range append(append([]string{}, older...), proofs...) {
		raw, err := os.ReadFile(path)
		if err != nil {
			return found{}, err
		}
		var before tlog.Tree
		if i < len(older) {
			before, _, err = trusted.open(raw, 0)
		} else {
			var entry []byte
			if entry, err = base64.StdEncoding.DecodeString(entries[i-len(older)]); err == nil {
				before, err = proofCheck(raw, entry, trusted)
			}
		}
		if err == nil {
			err = grownOut(files, before, newest)
		}
		if err != nil {
			return found{}, fmt.Errorf("%s: %w", path, err)
		}
	}
	return found{trusted.log.Name(), newest.N, newest.Hash.String(), seen, tiles, len(older), len(proofs)}, nil
}

func main() {
	var witnesses, older, proofs, entries words
	log := flag.String("log", "", "address of the log, or directory of a mirror")
	vkey := flag.String("vkey", "", "the log's verifier key")
	quorum := flag.Int("quorum", 0, "how many witnesses must have signed")
	flag.Var(&witnesses, "witness", "verifier key of a witness; may be repeated")
	flag.Var(&older, "old", "file of an older checkpoint; may be repeated")
	flag.Var(&proofs, "proof", "file of a tlog-proof; may be repeated, each with its -entry")
	flag.Var(&entries, "entry", "the entry that the tlog-proof is of, in base64")
	flag.Parse()
	key, err := note.NewVerifier(*vkey)
	trusted := trust{log: key, quorum: *quorum}
	for _, word := range witnesses {
		witness, wrong := cosignerParse(word)
		if wrong != nil {
			err = wrong
		}
		trusted.witnesses = append(trusted.witnesses, witness)
	}
	if len(proofs) != len(entries) {
		err = errors.New("each -proof needs its -entry")
	}
	if err == nil {
		var report found
		if report, err = verify(place(strings.TrimSuffix(*log, "/")), trusted, older, proofs, entries); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(report)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "does not verify:", err)
		os.Exit(1)
	}
}
