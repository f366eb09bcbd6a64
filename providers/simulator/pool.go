package simulator

import (
	"cmp"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/segmentio/asm/base64"
)

// poolPictures is how many different pictures a pool holds of each size.
const poolPictures = 4

// A Pool holds encoded JPEG pictures per pixel size. What it hands out differs
// in a comment segment after the JPEG's first two bytes, so that of a megabyte
// only the comment's base64 is computed per request. It is safe for concurrent
// use, also by several servers.
type Pool struct {
	painter *painter
	bytes   int
	next    atomic.Uint64

	mu    sync.Mutex
	sizes map[[2]int]*poolSize
}

// A poolSize holds the pictures of one pixel size, each made when it is first asked
// for.
type poolSize struct {
	pictures [poolPictures]struct {
		once sync.Once
		tail []byte // the base64 of what follows the comment
	}
	quality atomic.Int64 // that the latest one fitted at; 0 before the first
}

// NewPool makes a pool of pictures as Options.PoolBytes does, which Options.Pool
// gives to any number of servers.
func NewPool(bytes int) *Pool { return newPool(newShippedPainter(), bytes) }

// newPool makes a pool whose square pictures are ready; those of other sizes
// are made when they are first asked for.
func newPool(p *painter, bytes int) *Pool {
	pl := &Pool{painter: p, bytes: bytes, sizes: make(map[[2]int]*poolSize)}
	for range poolPictures {
		pl.take(1024, 1024)
	}
	return pl
}

// take returns a picture that shares its pixels with others and its bytes with
// none.
func (pl *Pool) take(w, h int) *picture {
	pl.mu.Lock()
	size := pl.sizes[[2]int{w, h}]
	if size == nil {
		size = new(poolSize)
		pl.sizes[[2]int{w, h}] = size
	}
	pl.mu.Unlock()
	n := pl.next.Add(1)
	i := n % poolPictures
	pic := &size.pictures[i]
	pic.once.Do(func() { pic.tail = pl.make(int(i), w, h, &size.quality) })
	return &picture{mime: mimeJPEG, raw: poolHead(n), tail: pic.tail}
}

// poolHeadBytes is the length of poolHead: a multiple of three, so that what
// follows can be encoded before.
const poolHeadBytes = 54

// poolHead is the start of a JPEG: SOI and a comment segment (ITU-T T.81,
// B.2.4.5) that holds n.
func poolHead(n uint64) []byte {
	head := make([]byte, 0, poolHeadBytes)
	head = append(head, 0xff, 0xd8, 0xff, 0xfe, 0, poolHeadBytes-4)
	return fmt.Appendf(head, "simulated picture %0*d", poolHeadBytes-6-18, n)
}

// make makes picture i of a size and remembers the quality it fitted at.
func (pl *Pool) make(i, w, h int, quality *atomic.Int64) []byte {
	sc := scene{
		sum: poolSum(i, w, h), width: w, height: h, grain: true,
		caption: fmt.Sprintf("Load picture %d of %d", i+1, poolPictures),
		footer:  fmt.Sprintf("%d × %d · simulated", w, h),
	}
	jpg, used := pl.encode(sc, cmp.Or(int(quality.Load()), 100))
	quality.Store(int64(used))
	tail := make([]byte, base64.StdEncoding.EncodedLen(len(jpg)-2))
	base64.StdEncoding.Encode(tail, jpg[2:])
	return tail
}

func poolSum(i, w, h int) (sum [32]byte) {
	binary.LittleEndian.PutUint64(sum[:], uint64(i))
	binary.LittleEndian.PutUint64(sum[8:], uint64(w)<<32|uint64(h))
	return sum
}

// encode draws a picture and encodes it to the pool's size: at the best quality
// that fits, up to best, and the rest in comments. A picture that does not fit
// at the lowest quality stays larger.
func (pl *Pool) encode(sc scene, best int) (jpg []byte, used int) {
	room := pl.bytes - (poolHeadBytes - 2)
	im := pl.painter.paint(sc)
	defer pl.painter.release(im)
	qualities := slices.DeleteFunc([]int{98, 95, 90, 82, 70, 50, 20}, func(q int) bool { return q > best })
	if jpg = encodeJPEG(im, qualities[0]); len(jpg) <= room || len(qualities) == 1 {
		return pad(jpg, room), qualities[0]
	}
	lowest := qualities[len(qualities)-1]
	least := encodeJPEG(im, lowest)
	if len(least) < room { // else nothing between can fit
		for _, used = range qualities[1 : len(qualities)-1] {
			if jpg = encodeJPEG(im, used); len(jpg) <= room {
				return pad(jpg, room), used
			}
		}
	}
	return pad(least, room), lowest
}

// pad inserts comments of noise after the SOI marker until the file has size
// bytes, or as many as are possible if less than a comment's four are missing.
func pad(jpg []byte, size int) []byte {
	out := append(make([]byte, 0, max(size, len(jpg))), jpg[:2]...)
	rng := rand.NewChaCha8([32]byte([]byte("padding of pictures for load....")))
	for missing := size - len(jpg); missing >= 4; {
		n := min(missing, 0xffff+2)
		if rest := missing - n; rest > 0 && rest < 4 {
			n -= 4
		}
		out = append(out, 0xff, 0xfe)
		out = binary.BigEndian.AppendUint16(out, uint16(n-2))
		noise := make([]byte, (n-4+1)/2)
		_, _ = rng.Read(noise) // never fails
		out = append(out, hex.EncodeToString(noise)[:n-4]...)
		missing -= n
	}
	return append(out, jpg[2:]...)
}
