"""tools/ptxas-report on logs and machine code that stand in for a compiler's: what it lets pass, and what it does not."""
import os, subprocess, sys, tempfile, unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LOG = """\
ptxas info    : Compiling entry function '{name}' for 'sm_90a'
ptxas info    : Function properties for {name}
    {stack} bytes stack frame, {spill} bytes spill stores, 0 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers
"""
CODE = """\
\t.section\t.text.{name},"ax",@progbits
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/              @!P0 SYNCS.ARRIVE.TRANS64.A1T0 RZ, [R2+URZ], RZ ;
{more}"""
HGMMA = "        /*0020*/                   HGMMA.64x128x16.F32 R24, gdesc[UR8], R24 ;\n"
UTMALDG = "        /*0030*/                   UTMALDG.2D [UR8], [UR4] ;\n"
LDL = "        /*0040*/              @P1  LDL.64 R2, [R1+0x8] ;\n"


class PtxasReport(unittest.TestCase):
    def report(self, name, more=HGMMA + UTMALDG, stack=0, spill=0, disassembler=True):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "some.log"), "w") as log:
                log.write(LOG.format(name=name, stack=stack, spill=spill))
            with open(os.path.join(folder, "some.cubin"), "w") as cubin:
                cubin.write(CODE.format(name=name, more=more))
            tool = os.path.join(folder, "nvdisasm")
            with open(tool, "w") as script:
                script.write('#!/bin/sh\ncat "$2"\n')
            os.chmod(tool, 0o755)
            environment = {**os.environ, "NVDISASM": tool} if disassembler else {"PATH": "/nowhere", "HOME": folder}
            p = subprocess.run([sys.executable, "-S", "-E", os.path.join(ROOT, "tools/ptxas-report"), os.path.join(folder, "some.log")],
                               capture_output=True, text=True, timeout=60, env=environment)
            return p.returncode, p.stdout + p.stderr

    def test_sound(self):
        status, text = self.report("pairs_wgmma_kernel")
        self.assertEqual(status, 0, text)
        row = next(line for line in text.splitlines() if "pairs_wgmma_kernel" in line)
        self.assertEqual(row.split()[1:], ["168", "0", "0", "0", "4", "0", "1", "1", "1", "0", "0"])

    def test_a_spill_fails(self):
        self.assertEqual(self.report("other_kernel", spill=8)[0], 1)

    def test_warpgroup_kernels(self):
        for more, stack, what in ((UTMALDG, 0, "no HGMMA"), (HGMMA, 0, "no UTMALDG"), (HGMMA + UTMALDG + LDL, 0, "1 LDL"),
                                  (HGMMA + UTMALDG, 8, "8 bytes of stack")):
            status, text = self.report("pairs_wgmma_kernel", more, stack)
            self.assertEqual(status, 1, text)
            self.assertIn("ptxas-report: pairs_wgmma_kernel: " + what, text)

    def test_other_kernels_may(self):
        self.assertEqual(self.report("other_kernel", LDL, 8)[0], 0)

    def test_without_a_disassembler(self):
        status, text = self.report("pairs_wgmma_kernel", UTMALDG, disassembler=False)
        self.assertEqual(status, 0, text)
        self.assertIn("NO nvdisasm", text)
        self.assertEqual(self.report("pairs_wgmma_kernel", UTMALDG, 8, disassembler=False)[0], 1)


if __name__ == "__main__":
    unittest.main()
