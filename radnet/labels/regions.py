"""Vocabulary of body parts: which of the nine regions a named part holds.

English with the common German, French, Dutch, Spanish, Portuguese, Italian, Polish and Czech words, without accents.
"""

from radnet.labels.text import words

COVERAGE = (
    "brain",
    "upper_head_neck",
    "lower_head_neck",
    "lung",
    "breast",
    "liver",
    "kidney",
    "intestine",
    "pelvis",
)
HEAD = ("brain",)
NECK = ("upper_head_neck", "lower_head_neck")
CHEST = ("lung",)
ABDOMEN = ("liver", "kidney")
LOWER = ("liver", "kidney", "intestine", "pelvis")
TRUNK = ("lung", *LOWER)
NONE = ()

# What a named part holds. An empty tuple: a part that holds none of the regions.
PARTS: dict[tuple[str, ...], frozenset[str]] = {
    HEAD: words(
        "brain head neuro cerebral cerebrum cranial kopf schadel hirn gehirn neurokopf tete crane cerveau cerebrale "
        "encephale hoofd hersenen schedel cabeza craneo cerebro encefalo testa cranio schaedel cervello skull "
        "cranium caput brains encephalon cranien cabeca glowa mozg hlava mozek glioma gbm hirnschadel gehirnschadel "
        "cct schadelhirn craneal encefalica encefalico cranica encephalique cranienne glowy mozgu"
    ),
    ("upper_head_neck",): words(
        "nasopharynx oropharynx sinus sinuses paranasal pns nnh face facial maxillofacial nasennebenhohlen massif "
        "sinusitis npc nasofaringe orofaringe epipharynx viscerocranium gesichtsschadel paranasali paranasales "
        "massiccio facciale gesicht aangezicht neusbijholten nasennebenhohle mund rachen pharynx mittelgesicht"
    ),
    ("lower_head_neck",): words(
        "larynx thyroid kehlkopf schilddruse hypopharynx laringe tiroides tiroide thyroide parathyroid schildklier "
        "stembanden strottenhoofd"
    ),
    NECK: words("neck hals cou cuello collo halsweichteile pescoco szyja szyi krk nek cervicofacial orl halses"),
    CHEST: words(
        "chest thorax lung lungs thoracic torax torace lunge lungen poumon poumons pulmon pulmones pulmao polmone "
        "polmoni longen pulmonary pulm hrct ctpa mediastinum mediastino mediastin srodpiersie thor thorakal "
        "thoraxroutine thorroutine mediastinal thoracique toracico toraks klatka chst cxr rib ribs pulmonaire "
        "pulmonar hrlung ches cht tho klp klatki hrudnik lungenembolie lungenarterien pulmonalarterien polmonare "
        "polmonari brustkorb borstkas lungenrundherd longembolie pulmonalis pulmonalarteriell pulmonalarterielle"
    ),
    ("breast",): words(
        "breast breasts brst mamma mammae mammo brust sein seins seno mama mamas mammella mrm mrmam borsten borst "
        "breastuni mammographie mammografie breas brustdruse mammaria breat mammelle mammaire mammaires"
    ),
    ("liver",): words(
        "liver leber foie lever higado figado fegato hepatic hepatique hcc hepatico watroba hepar livers epatica "
        "epatico lebermetastasen watroby"
    ),
    ("kidney",): words(
        "kidney kidneys kid kids renal renals niere nieren rein reins nier rinon rinones rene reni rim rins nerka "
        "urogram ren nierenstein nierensteine nierensteinen renale renali renales nierenlager nerki nerek"
    ),
    ("kidney", "intestine", "pelvis"): words("kub ctu ureter ureters uretere ureteres ureteri harnleiter"),
    ("pelvis",): words(
        "pelvis pelvic pel pelv prostate prostata becken bassin bekken pelvi bacino rectum rektum uterus bladder "
        "miednica pelviano pelvien pelviana rectal cervix ovary ovaries bassino vejiga blase harnblase vescica "
        "vessie retto recto endometrium utero vagina penis anus anal prostaat prostatic adnexa scrotum hipspelvis "
        "pros blad panev plv plvs miednicy taz blddr vulva iliac iliaca iliacal iliaque beckenubersicht pelvienne "
        "pelvica pelvico blaas baarmoeder gebarmutter beckenboden uterine"
    ),
    ABDOMEN: words(
        "abdomen abd abdominal bauch buik addome abdo ventre oberbauch brzuch pancreas panc pankreas spleen milz "
        "adrenal adrenals mrcp stomach magen estomago estomac stomaco abdome brzuszna gallbladder biliary cholangio "
        "abdroutine upperabdomen abdomenliver hepatobiliary bile abdominale abdominaal retroperitoneum abdm gastric "
        "nebenniere surrenes bricho bovenbuik nebennieren bijnier bijnieren suprarrenal suprarrenales surrenali "
        "surrenalien surrenale surrene surreni jb brzuszne brzusznej brzucha brz trzustka trzustki "
        "bauchspeicheldruse gallenwege gallenblase alvleesklier addominale"
    ),
    LOWER: words(
        "abdpel abdpelvis abdopelvis abdomenpelvis abdominopelvic abdominopelvien enterography enteroclysis "
        "colonoscopy colorectal colonography colono colon colo darm kolon bowel abdpelv abdpelvic enterografia "
        "entero coloscan abdomenpel apelvis koloskopie coloscanner abpel urotac uroscanner uroct urotc dunndarm "
        "dickdarm enteroct"
    ),
    TRUNK: words(
        "cap tap ctcap chestabdpelvis trunk torso chestabdomenpelvis cuerpo thoracoabdominopelvien chestabdpel "
        "polytrauma panscan chabdpelv"
    ),
    ("lung", *ABDOMEN): words("chestabdomen thoraxabdomen thoraxabd chestabd thabd tha thorabd"),
    (*NECK, *TRUNK): words("neckchestabdpelv neckchestabdpelvis ncap"),
    (*NECK, "lung", *ABDOMEN): words("neckchestabdomen"),
    (*NECK, "lung"): words("neckchest"),
    NONE: words(
        "knee knees shoulder shoulders elbow elbows wrist wrists hand hands foot feet ankle ankles finger toe toes "
        "knie schulter hombro rodilla ginocchio spalla genou epaule cspine tspine lspine lsp tsp csp spine lumbar "
        "femur femurs tibia tib fib humerus thigh thighs calf calves forearm tlspine lsspine leg legs arm hip hips "
        "lumbosacral sacrum coccyx sacroiliac heel wirbelsaule hws bws lws rachis colonne columna colonna "
        "wervelkolom pied cheville hanche poignet coude tobillo cadera muneca caviglia anca polso hufte ellenbogen "
        "handgelenk fuss sprunggelenk lwk iac orbit orbits orbita pituitary sella hypophyse tmj temporal mastoid "
        "felsenbein heart cardiac herz coeur cuore corazon hart coronary coronaries lowerlimb upperlimb fibula "
        "clavicle scapula tendon schouder heup enkel pols rug lombaire cervicale lendenwirbelsaule halswirbelsaule "
        "wristhand brachial opticcanal rochers rocher femorala jaw ear dental lwsp cwk twk rachide lombare "
        "kniegelenk schultergelenk huftgelenk ellenbogengelenk brustwirbelsaule genoux hanches epaules coudes "
        "poignets chevilles cuisse jambe coscia gamba gomito piede mano muslo pierna unterarm oberarm oberschenkel "
        "unterschenkel onderbeen bovenbeen bras brazo braccio antebrazo avambraccio voet voeten knieen schadelbasis "
        "orbite orbitas iam iams pater rameno koleno kycel"
    ),
}
