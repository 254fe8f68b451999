//go:build !purego

#include "textflag.h"

// func Prefetch(p unsafe.Pointer, n int)
TEXT ·Prefetch(SB), NOSPLIT|NOFRAME, $0-16
	MOVQ p+0(FP), AX
	MOVQ n+8(FP), CX

loop:
	SUBQ       $1, CX
	JLT        done
	PREFETCHT0 (AX)
	ADDQ       $64, AX
	JMP        loop

done:
	RET
