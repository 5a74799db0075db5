/* Promela twin of the one-register model: larger bounds, independent of the Python code.
 *
 *   spin -a prune.pml && cc -O2 -DSAFETY -DCOLLAPSE -o pan pan.c && ./pan -m200000
 *   spin -a -DNO_WAIT  prune.pml ...   (each macro breaks one rule; see below)
 *
 * test_spin.py runs it. Variants that MUST fail:  -DNO_TOMBS (naive)   -DNO_WAIT   -DIGNORE_TOMBS
 *                           -DSCAN_FIRST   -DLEASE_LATE   -DUNFENCED   -DRESURRECT
 * Sets are bit masks. Pack 0 belongs to backup 0 (already committed); session s
 * creates pack s. A crash = a process that is not scheduled any more.          */
#ifndef NW
#define NW 2            /* writers     */
#endif
#ifndef NG
#define NG 2            /* collectors  */
#endif
#ifndef NDEL
#define NDEL 2          /* deletions   */
#endif
#ifndef NKILL
#define NKILL 1         /* sessions declared dead, rightly or not */
#endif
#define NS (NW+1)
#define NONE 0
#define COMMIT 1
#define ABORT 2
#define DELETED 3

byte packs = 1;
byte dec[NS];           /* write-once decision object per session */
byte refs[NS];          /* manifest content                       */
byte leases = 0;
byte tomb[NG];
byte ndel = NDEL, nkill = NKILL;

#define HAS(m,k) (((m) >> (k)) & 1)

/* safety: no committed manifest refers to a pack that is gone */
inline check() {
    cc = 0;
    do
    :: cc < NS -> assert(!(dec[cc] == COMMIT && (refs[cc] & ~packs))); cc++
    :: else -> break
    od; cc = 0
}
inline alltombs(r) {
    r = 0; i = 0;
    do :: i < NG -> r = r | tomb[i]; i++ :: else -> break od; i = 0
}
inline allrefs(r) {
    r = 0; i = 0;
    do :: i < NS -> if :: dec[i] == COMMIT -> r = r | refs[i] :: else fi; i++
       :: else -> break od; i = 0
}

proctype Writer(byte s) {
    byte seen = 0, known = 0, b = 0, i = 0;
#ifndef LEASE_LATE
    atomic { leases = leases | (1 << s) };                  /* 1 lease first   */
#endif
#ifndef IGNORE_TOMBS
    d_step { alltombs(seen) };                              /* 2 condemned set */
#endif
    atomic {                                                /* 3 plan + upload */
        if
        :: known = 0
        :: dec[0] == COMMIT -> known = refs[0] & ~seen
        :: s != 1 && dec[1] == COMMIT -> known = refs[1] & ~seen
#if NW > 1
        :: s != 2 && dec[2] == COMMIT -> known = refs[2] & ~seen
#endif
        :: d_step { allrefs(known); known = known & ~seen }
        fi;
        known = known | (1 << s); packs = packs | (1 << s); seen = 0
    };
#ifdef LEASE_LATE
    atomic { leases = leases | (1 << s) };
#endif
    d_step {                                                /* 4 commit point  */
        if
#ifdef UNFENCED
        :: true -> dec[s] = COMMIT; refs[s] = known
#else
        :: dec[s] == NONE -> dec[s] = COMMIT; refs[s] = known
        :: else -> skip                                     /* 412: give up    */
#endif
        fi; known = 0 };
    d_step { leases = leases & ~(1 << s) }                  /* 5 lease last    */
}

proctype Deleter() {
    do
    :: atomic { ndel > 0 && dec[0] == COMMIT -> dec[0] = DELETED; refs[0] = 0; ndel-- }
    :: atomic { ndel > 0 && dec[1] == COMMIT -> dec[1] = DELETED; refs[1] = 0; ndel-- }
#if NW > 1
    :: atomic { ndel > 0 && dec[2] == COMMIT -> dec[2] = DELETED; refs[2] = 0; ndel-- }
#endif
    :: break                          /* may stop at any time */
    od
}

proctype GC(byte g) {
    byte t = 0, bl = 0, r = 0, i = 0, names = 0, cc = 0;
    /* phase 1: condemn.  What is condemned is only a hint for safety. */
    d_step { t = packs };
    d_step { allrefs(r); t = t & ~r; r = 0 };
#ifndef NO_TOMBS
    d_step { tomb[g] = tomb[g] | t; t = 0 };
    /* phase 2: sweep every tomb that is visible now */
    d_step { alltombs(t) };
#ifndef NO_WAIT
  #ifdef SCAN_FIRST
    d_step { allrefs(r); t = t & ~r; r = 0 };
  #endif
    d_step { bl = leases };
    do
    :: d_step { (HAS(bl,1) && dec[1] != NONE) -> bl = bl & ~2 }
    :: d_step { (HAS(bl,1) && dec[1] == NONE && nkill > 0) -> dec[1] = ABORT; nkill--; bl = bl & ~2 }
#if NW > 1
    :: d_step { (HAS(bl,2) && dec[2] != NONE) -> bl = bl & ~4 }
    :: d_step { (HAS(bl,2) && dec[2] == NONE && nkill > 0) -> dec[2] = ABORT; nkill--; bl = bl & ~4 }
#endif
    :: bl == 0 -> break
    od;
    skip;
#endif
  #ifndef SCAN_FIRST
    d_step { i = 0; do :: i < NS -> if :: dec[i] == COMMIT -> names = names | (1 << i) :: else fi; i++
                       :: else -> break od; i = 0 };
    d_step { r = 0; i = 0;
             do :: i < NS -> if :: HAS(names,i) && dec[i] == COMMIT -> r = r | refs[i] :: else fi; i++
                :: else -> break od; i = 0; names = 0 };
  #endif
#endif
    atomic { bl = t; t = t & ~r; r = 0 };
    do
    :: d_step { HAS(t,0) -> packs = packs & ~1; t = t & ~1; check() }
    :: d_step { !HAS(t,0) && HAS(t,1) -> packs = packs & ~2; t = t & ~2; check() }
#if NW > 1
    :: d_step { (t & 3) == 0 && HAS(t,2) -> packs = packs & ~4; t = t & ~4; check() }
#endif
    :: t == 0 -> break
    od;
    skip;
#ifndef NO_TOMBS
    d_step { i = 0;
  #ifdef RESURRECT
        do :: i < NG -> tomb[i] = tomb[i] & ~bl; i++ :: else -> break od;
  #else
        do :: i < NG -> tomb[i] = tomb[i] & packs; i++ :: else -> break od;
  #endif
        i = 0; bl = 0 }
#endif
}

/* the assertion must also hold right after a commit */
active proctype Monitor() {
    byte cc = 0;
    do
    :: d_step { (dec[0] == COMMIT && (refs[0] & ~packs)) -> assert(false) }
    :: d_step { (dec[1] == COMMIT && (refs[1] & ~packs)) -> assert(false) }
#if NW > 1
    :: d_step { (dec[2] == COMMIT && (refs[2] & ~packs)) -> assert(false) }
#endif
    :: timeout -> break
    od; cc = 0
}

init {
    atomic {
        dec[0] = COMMIT; refs[0] = 1;
        run Writer(1);
#if NW > 1
        run Writer(2);
#endif
        run Deleter();
        run GC(0);
#if NG > 1
        run GC(1);
#endif
    }
}
